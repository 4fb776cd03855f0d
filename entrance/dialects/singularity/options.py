"""Options of storages with their defaults, as text: those of rclone that matter, and the providers of S3 by name."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import BadInput

_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "local": {
        "case_insensitive": "false",
        "case_sensitive": "false",
        "copy_links": "false",
        "encoding": "Slash,Dot",
        "links": "false",
        "no_check_updated": "false",
        "no_preallocate": "false",
        "no_set_modtime": "false",
        "no_sparse": "false",
        "nounc": "false",
        "one_file_system": "false",
        "skip_links": "false",
        "time_type": "mtime",
        "unicode_normalization": "false",
        "zero_size_links": "false",
    },
    "s3": {
        "access_key_id": "",
        "acl": "",
        "bucket_acl": "",
        "chunk_size": "5Mi",
        "copy_cutoff": "4.656Gi",
        "disable_checksum": "false",
        "encoding": "Slash,InvalidUtf8,Dot",
        "endpoint": "",
        "env_auth": "false",
        "force_path_style": "true",
        "list_chunk": "1000",
        "list_version": "0",
        "location_constraint": "",
        "max_upload_parts": "10000",
        "no_check_bucket": "false",
        "no_head": "false",
        "region": "",
        "secret_access_key": "",
        "session_token": "",
        "storage_class": "",
        "upload_concurrency": "4",
        "upload_cutoff": "200Mi",
        "versions": "false",
    },
}
_PROVIDERS: Mapping[str, str] = {
    name.lower(): name
    for name in [
        "AWS",
        "Alibaba",
        "ArvanCloud",
        "BizflyCloud",
        "Ceph",
        "ChinaMobile",
        "Cloudflare",
        "Cubbit",
        "DigitalOcean",
        "Dreamhost",
        "Exaba",
        "FileLu",
        "FlashBlade",
        "GCS",
        "Hetzner",
        "HuaweiOBS",
        "IBMCOS",
        "IDrive",
        "IONOS",
        "Intercolo",
        "Leviia",
        "Liara",
        "Linode",
        "LyveCloud",
        "Magalu",
        "Mega",
        "Minio",
        "Netease",
        "OVHcloud",
        "Other",
        "Outscale",
        "Petabox",
        "Qiniu",
        "Rabata",
        "RackCorp",
        "Rclone",
        "Scaleway",
        "SeaweedFS",
        "Selectel",
        "Servercore",
        "SpectraLogic",
        "StackPath",
        "Storj",
        "Synology",
        "TencentCOS",
        "Wasabi",
        "Zata",
    ]
}


def defaults_of(type: str) -> Mapping[str, str]:
    """Return all options of a type of storage with their defaults."""
    return _DEFAULTS[type]


def provider_of(type: str, provider: str) -> str:
    """Return a provider's name in its usual spelling. Raises BadInput."""
    name = _PROVIDERS.get(provider.lower()) if type == "s3" else None
    if name is None:
        raise BadInput(f"provider '{provider}' is not supported")
    return name
