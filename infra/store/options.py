"""How to reach a store: the settings group `store`, which travels to every process that opens the store."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

ConditionalPut = Literal["required", "exclusive-writer"]


class StoreOptions(BaseModel):
    """Where and how a store is reached. Empty fields are filled by the usual AWS places (environment, profile, role).

    Immutable and picklable. Secrets are `SecretStr`: they show as `**********` in `repr`, logs and errors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoint_url: str | None = Field(
        default=None, description="S3 endpoint, for servers other than AWS; no user or password in it"
    )
    region: str | None = Field(default=None, description="S3 region")
    profile: str | None = Field(default=None, description="profile of the AWS configuration files")
    access_key_id: SecretStr | None = Field(default=None, description="S3 access key; else the usual AWS places")
    secret_access_key: SecretStr | None = Field(default=None, description="S3 secret key; else the usual AWS places")
    session_token: SecretStr | None = Field(default=None, description="S3 session token of temporary keys")
    anonymous: bool = Field(default=False, description="send unsigned requests")
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto", description="how the bucket stands in S3 URLs; auto is path-style for an endpoint of one's own"
    )
    checksums: Literal["when_supported", "when_required"] | None = Field(
        default=None, description="botocore's request checksums; when_required for servers that take no trailers (411)"
    )
    conditional_put: ConditionalPut = Field(
        default="required",
        description="required: the store must do conditional puts; exclusive-writer: it cannot, and one process at a "
        "time writes (the store's format file keeps the choice)",
    )
    timeout_s: float = Field(
        default=20.0, gt=0, le=600, description="seconds without an answer before one request is given up"
    )
    retry_s: float = Field(default=30.0, ge=0, le=3600, description="seconds for which one operation is tried again")
    connections: int = Field(default=32, ge=1, le=1000, description="connections per process")
    filesystem: dict[str, SecretStr | int | float | bool | None] = Field(
        default_factory=dict, description="options of other fsspec file systems, handed over as they are"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _endpoint_is_plain(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None:
            raise ValueError("a user or password in the URL is refused: set access_key_id and secret_access_key")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("not an http(s)://host[:port] URL")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> StoreOptions:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token needs access_key_id and secret_access_key")
        return self

    def filesystem_options(self) -> dict[str, Any]:
        """Options for a file system other than file and s3, secrets revealed. Never log the result."""
        return {k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in self.filesystem.items()}


def secret(value: SecretStr | None) -> str | None:
    """The secret itself, or None."""
    return None if value is None else value.get_secret_value()


def for_workers(url: str, options: StoreOptions) -> StoreOptions:
    """The same options with what this machine's AWS settings add, so that workers elsewhere reach the same store.

    Endpoint, region, checksum mode and fixed keys found in the environment or a profile are filled in. Keys that a
    role or a single sign-on renews are not: they would go stale, so every worker must have a role of its own.
    Raises ValueError where the AWS settings themselves are wrong (an unknown profile, for example).
    """
    if urlsplit(url).scheme not in ("s3", "s3a"):
        return options
    from botocore.config import Config
    from botocore.credentials import RefreshableCredentials
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        session = Session(profile=options.profile)
        region = options.region or session.get_config_variable("region")
        keys = None if options.anonymous else session.get_credentials()
        # A client tells botocore's own conclusion from all the places where these may be set.
        meta = session.create_client(
            "s3",
            region_name=region or "us-east-1",
            endpoint_url=options.endpoint_url,
            aws_access_key_id="-",  # never used: this client sends nothing
            aws_secret_access_key="-",
            config=Config(request_checksum_calculation=options.checksums),
        ).meta
    except BotoCoreError as error:
        raise ValueError(f"AWS settings: {error}") from error
    found: dict[str, Any] = {"region": region, "checksums": meta.config.request_checksum_calculation, "profile": None}
    if not (urlsplit(meta.endpoint_url).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
        found["endpoint_url"] = meta.endpoint_url
    style = (meta.config.s3 or {}).get("addressing_style")
    if options.addressing_style == "auto" and style:
        found["addressing_style"] = style
    if keys is not None and not isinstance(keys, RefreshableCredentials) and options.access_key_id is None:
        found |= {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key, "session_token": keys.token}
    elif isinstance(keys, RefreshableCredentials):
        found["profile"] = options.profile
    return StoreOptions.model_validate(options.model_dump() | found)
