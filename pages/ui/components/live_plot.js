let loading = null;
function plotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error("plotly.js did not load"));
    };
    document.head.appendChild(script);
  });
  return loading;
}

// As on the page: colours come from its style sheets, which a picture does not have.
function save(Plotly, host, name) {
  const style = getComputedStyle(host),
    ground = style.getPropertyValue("--st-background-color") || "#fff";
  const layout = { ...host.layout, paper_bgcolor: ground, plot_bgcolor: ground };
  layout.font = { ...layout.font, color: style.color };
  const size = { width: host.clientWidth, height: host.clientHeight, scale: 2 };
  Plotly.downloadImage({ data: host.data, layout }, { format: "png", filename: name, ...size });
}

export default function ({ data, parentElement, setTriggerValue }) {
  const host = parentElement.querySelector(".nucleus-plot");
  host.setAttribute("aria-label", data.label);
  host.latest = data;
  plotly(data.url)
    .then((Plotly) => {
      const { figure, step } = host.latest;
      const font = { family: getComputedStyle(host).fontFamily, size: 13 };
      const drawn = JSON.stringify(figure);
      if (host.drawn !== drawn) {
        // the page is drawn three times a second, and most of its figures stand still
        host.drawn = drawn;
        host.style.minWidth = `${host.latest.min_width}px`;
        parentElement.querySelector(".nucleus-figure").classList.toggle("nucleus-wide", host.latest.min_width > 0);
        Plotly.react(host, figure.data, { ...figure.layout, font }, { displayModeBar: false, responsive: true });
      }
      host.dataset.step = step;
      host.removeAllListeners("plotly_click");
      host.on("plotly_click", ({ points }) => {
        if (points[0].customdata !== undefined) setTriggerValue("picked", points[0].customdata);
      });
      const button = parentElement.querySelector(".nucleus-save");
      button.title = host.latest.save;
      button.setAttribute("aria-label", host.latest.save);
      button.onclick = () => save(Plotly, host, host.latest.name);
    })
    .catch(() => {
      host.textContent = data.failed;
    });
}
