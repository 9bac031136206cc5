"""What SCIM's resources look like here: the core schemas without passwords, our extensions, INDIGO IAM's.

What is read-only is worked out from membership and rights. All else is kept, whether it means something here or not.
"""

# mypy: disable-error-code="assignment, misc, type-arg, valid-type"

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, ValidationInfo, model_validator
from scim2_models import (
    URN,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    Context,
    ETag,
    Extension,
    Filter,
    Mutability,
    Patch,
    Reference,
    Required,
    Resource,
    ResourceType,
    Returned,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)
from scim2_models import User as CoreUser

USER, GROUP = "urn:ietf:params:scim:schemas:core:2.0:User", "urn:ietf:params:scim:schemas:core:2.0:Group"
OUR_USER = "urn:farmlet:scim:User"
INDIGO_USER, INDIGO_GROUP = "urn:indigo-dc:scim:schemas:IndigoUser", "urn:indigo-dc:scim:schemas:IndigoGroup"
BODY: Final = 1 << 18  # bytes of a request

Told = Mutability.read_only


class User(CoreUser[Any]):
    """The core User. A userName is for ever, and passwords are no business of SCIM's."""

    __schema__ = URN(USER)

    user_name: Annotated[str | None, Uniqueness.server, Required.true, Mutability.immutable] = None
    active: Annotated[bool | None, Required.true] = None
    password: ClassVar[None] = None

    @model_validator(mode="before")
    @classmethod
    def _approve(cls, data: Any, info: ValidationInfo) -> Any:
        """Who registers a member without a word about `active` means true; a replacement has to say it."""
        if (info.context or {}).get("scim") != Context.RESOURCE_CREATION_REQUEST or not isinstance(data, dict):
            return data
        return data if "active" in {str(name).lower() for name in data} else {**data, "active": True}


class GroupMember(ComplexAttribute):
    """A member that was put into the group itself; who is in a group below it is not repeated here.

    `display` is what many programs send along: it is neither kept nor told.
    """

    value: Annotated[str | None, Mutability.immutable, CaseExact.true] = None
    ref: Annotated[Reference[User] | None, Mutability.immutable] = Field(
        None, serialization_alias="$ref", validation_alias="$ref"
    )
    type: Annotated[str | None, Mutability.immutable] = Field(None, examples=["User"])
    display: Annotated[str | None, Told, Returned.request] = None

    @model_validator(mode="before")
    @classmethod
    def _forget(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if name.lower() != "display"} if isinstance(data, dict) else data


class Group(Resource[Any]):
    """The core Group, its members people and service members only: groups are nested by their paths."""

    __schema__ = URN(GROUP)

    display_name: Annotated[str | None, Required.true, Uniqueness.server] = None
    members: list[GroupMember] | None = None


class UnixGroup(ComplexAttribute):
    path: Annotated[str | None, Told] = None
    name: Annotated[str | None, Told] = None
    gid_number: Annotated[int | None, Told] = None


class FarmletUser(Extension):
    """What accounts are made of. `groups` are those of the facility file, parents included.

    `join` is in the answer to a registration only: the link by which the member sets a password.
    """

    __schema__ = URN(OUR_USER)

    name: Annotated[str | None, Told, CaseExact.true] = None
    uid_number: Annotated[int | None, Told] = None
    gid_number: Annotated[int | None, Told] = None
    groups: Annotated[list[UnixGroup] | None, Told] = None
    state: Annotated[str | None, Told] = None
    scopes: Annotated[list[str] | None, Told] = None
    kind: Annotated[str | None, Told] = None
    owner: Annotated[str | None, Told] = None
    expires: Annotated[datetime | None, Told] = None
    join: Annotated[str | None, Told] = None


class Label(ComplexAttribute):
    prefix: str | None = None
    name: str | None = None
    value: str | None = None


class Attribute(ComplexAttribute):
    name: str | None = None
    value: str | None = None


class SshKey(ComplexAttribute):
    display: str | None = None
    primary: bool | None = None
    value: str | None = None
    fingerprint: str | None = None


class GroupReference(ComplexAttribute):
    value: Annotated[str | None, Told] = None
    display: Annotated[str | None, Told] = None
    ref: Annotated[Reference[Group] | None, Told] = Field(None, serialization_alias="$ref", validation_alias="$ref")


class IndigoUser(Extension):
    """INDIGO IAM's extension (1.11), as far as it makes sense here. SSH keys are kept, but open no log-in."""

    __schema__ = URN(INDIGO_USER)

    labels: list[Label] | None = None
    attributes: list[Attribute] | None = None
    ssh_keys: list[SshKey] | None = None
    end_time: Annotated[datetime | None, Told] = None
    service_account: Annotated[bool | None, Told] = None
    authorities: Annotated[list[str] | None, Told] = None
    managed_groups: Annotated[list[GroupReference] | None, Told] = None


class IndigoGroup(Extension):
    __schema__ = URN(INDIGO_GROUP)

    description: str | None = None
    labels: list[Label] | None = None
    parent_group: Annotated[GroupReference | None, Told] = None


FullUser = User[FarmletUser | IndigoUser]
FullGroup = Group[IndigoGroup]


@cache
def describe_service(largest: int) -> ScimProvider:
    """The service as its discovery tells it; `largest` is the number of resources of one page."""
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=True, max_operations=100, max_payload_size=BODY),
        filter=Filter(supported=True, max_results=largest),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="OAuth 2 bearer token",
                description="An access token of this issuer with scope scim:read, scim:write, or for /Me openid",
                primary=True,
            )
        ],
    )
    models = (User, FarmletUser, IndigoUser, Group, IndigoGroup)
    types = [ResourceType.from_resource(FullUser), ResourceType.from_resource(FullGroup)]
    return ScimProvider(models=models, resource_types=types, config=config)
