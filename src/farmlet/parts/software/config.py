"""`software:` of the facility file: the images that jobs and notebooks may run in, and software of others."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from farmlet.parts.software.cvmfs.section import Cvmfs
from farmlet.parts.software.requirements import check

SHIPPED = "analysis"
Requirement = Annotated[str, Field(max_length=500), AfterValidator(check)]
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]{1,99}$")]
File = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*)?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]


class Image(BaseModel):
    """An image of the facility's own: another one and what is added to it. Each is tested before it is offered.

    `from`: the image that it begins with, one above it in the list. `packages`: Debian's, without what they recommend.
    `requirements`: Python packages (pip's format, wheels only). `lock`: a file of such lines beside the facility file, in their
    stead. `dockerfile`: a folder beside the facility file with a Dockerfile, whose steps come then; its `FROM` is that image.
    `test`: a bash script that runs inside, as nobody and without a network, and ends well if the image does what it shall.
    That its Python starts, a notebook runs and its server goes together with the Hub is tested in any case. `title`: what members
    read when they choose.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Name
    title: str = Field(default="", max_length=80, pattern=r"^[^\x00-\x1f\x7f]*$")
    base: Name = Field(default=SHIPPED, alias="from")
    packages: tuple[Package, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    lock: File = ""
    dockerfile: File = ""
    test: str = Field(default="", max_length=10000)

    @model_validator(mode="after")
    def _check(self) -> Image:
        if self.name == SHIPPED:
            raise ValueError(f"`{SHIPPED}` is the facility's own and always there; give yours another name")
        if self.requirements and self.lock:
            raise ValueError("has `requirements` and `lock`; one of them says it")
        if not (self.packages or self.requirements or self.lock or self.dockerfile):
            raise ValueError("adds nothing; name `packages`, `requirements`, `lock` or `dockerfile`")
        return self


class Software(BaseModel):
    """Images that jobs and notebooks may run in. `default`: the image of those that name none. `images`: more than the shipped
    `analysis`. `keep_days`: how long an image that was replaced stays for what still runs in it. `cvmfs`: repositories of others.
    `unpacked`: a wish list (DUCC's format) of images of registries, a file beside the facility file; they are unpacked below
    `/cvmfs/unpacked.DOMAIN`. `publisher`: the host that builds is the publisher of the CVMFS repository of that name
    (`cvmfs_server mkfs` was run there), which carries them. `shared`: whether something else takes /cvmfs of the node that builds
    to all other nodes and sites (`true`), or nothing does (`false`), so that they fetch by https what they miss; if neither is
    said, containers of one machine share it and others do not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Name = SHIPPED
    images: tuple[Image, ...] = ()
    keep_days: int = Field(default=7, ge=1, le=365)
    cvmfs: Cvmfs | None = None
    unpacked: File = ""
    publisher: bool = False
    shared: bool | None = None

    @model_validator(mode="after")
    def _check(self) -> Software:
        if self.publisher and not self.unpacked:
            raise ValueError("`publisher` has nothing to publish; name a wish list, `unpacked: wishlist.yaml`")
        known = [SHIPPED]
        for one in self.images:
            if one.name in known:
                raise ValueError(f"two images have the name {one.name}")
            if one.base not in known:
                raise ValueError(f"image {one.name} is from {one.base}, which is not above it in the list")
            known.append(one.name)
        if self.default not in known:
            raise ValueError(f"the default {self.default} is none of the images: {', '.join(known)}")
        return self
