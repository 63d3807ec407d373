export default function ({ data, setTriggerValue }) {
  const held = document.cookie
    .split("; ")
    .map((part) => part.split("="))
    .find(([name]) => name === data.name)?.[1];
  if (!held || !/^[0-9a-f]{32}$/.test(held)) {
    const secure = location.protocol === "https:" ? "; secure" : "";
    // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is not there on plain HTTP
    document.cookie = `${data.name}=${data.secret}; path=/; max-age=31536000; samesite=strict${secure}`;
  } else if (held !== data.secret) {
    setTriggerValue("held", held);
  }
}
