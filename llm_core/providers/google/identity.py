"""Provide the server's identity at Google Cloud: application-default credentials, which renew themselves."""

from __future__ import annotations

import threading
from typing import Any

from llm_core.errors import NucleusError
from llm_core.providers.http.error_mapping import Failure

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


class GoogleIdentity:
    """Application-default credentials of the server. Any thread may use it."""

    def __init__(self) -> None:
        self._credentials: Any = None
        self._lock = threading.Lock()

    def credentials(self) -> Any:
        """Return the credentials object for the SDKs. Raises `Failure` if the server has none."""
        import google.auth
        from google.auth.exceptions import GoogleAuthError

        with self._lock:
            if self._credentials is None:
                try:
                    self._credentials, _ = google.auth.default(scopes=_SCOPES)
                except GoogleAuthError:
                    raise Failure(NucleusError("provider_credentials_missing")) from None
            return self._credentials

    def token(self) -> str:
        """Return an access token for a header. Raises `Failure` if none can be had."""
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.requests import Request

        credentials = self.credentials()
        with self._lock:
            try:
                if not credentials.valid:
                    credentials.refresh(Request())
            except TransportError as error:
                raise Failure(NucleusError("provider_unreachable", host="oauth2.googleapis.com"), True) from error
            except GoogleAuthError:
                raise Failure(NucleusError("provider_credentials_missing")) from None
            return str(credentials.token)
