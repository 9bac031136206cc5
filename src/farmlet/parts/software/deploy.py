"""Where software images are built (once, with the node's own image) and where members and jobs find them: below /cvmfs.

An image is built in the install phase, without names or secrets, and published in the configure phase. The published
folder is what a CVMFS repository distributes in production; in a sandbox the sites mount it read-only.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.facility import places
from farmlet.parts.part import Check, Context, Part, Role
from farmlet.parts.resources import Command, Directory, Environment, File, Packages, Resource
from farmlet.parts.software import image
from farmlet.parts.software.config import Software

BUILT = "/usr/lib/farmlet/images"
PYTHON = "/opt/farmlet/analysis"  # the image's Python packages, on log-in nodes
BEARER = "/usr/lib/farmlet/bearer.py"
# Debian 13 has no Apptainer; sid's installs on it unchanged
APPTAINER = (Packages(("squashfuse", "fuse-overlayfs", "fuse3", "uidmap")), Packages(("apptainer",), "sid"))


def install_build() -> Sequence[Resource]:
    recipe = image.analysis()
    script, target = f"{BUILT}/build-{recipe.name}.sh", f"{BUILT}/{recipe.name}"
    return (
        Packages(("mmdebstrap", "debian-archive-keyring")),
        File(script, image.render(recipe), 0o755),
        Command(f"build image {recipe.name}", f"{script} {target}", image.built(recipe, target), fills=target),
    )


def configure_build(context: Context) -> Sequence[Resource]:
    recipe = image.analysis()
    target, folder = places.find_image(recipe.name), places.find_authorities(context.facility.domain)
    copy = f"rm -rf {target}.new && cp -a {BUILT}/{recipe.name} {target}.new && rm -rf {target} && mv {target}.new {target}"
    return (
        Directory(places.IMAGES),
        Command(f"publish image {recipe.name}", copy, image.built(recipe, target)),
        Directory(places.find_published(context.facility.domain)),
        Directory(folder),
        *(File(f"{folder}/{name}.pem", text) for name, text in context.trust.authorities.items()),
        File(f"{folder}/bundle.pem", context.trust.bundle),
        Command("hash the authorities", f"openssl rehash {folder}"),
    )


def install_client() -> Sequence[Resource]:
    return (
        *APPTAINER,
        # what the image has, for those who work on the node itself
        Packages(("python3-venv",)),
        Environment(PYTHON, image.requirements()),
        Directory("/usr/lib/farmlet"),
        File(BEARER, image.bearer()),
        Command("tokens for https", f"{PYTHON}/bin/python {BEARER} --register", f"{PYTHON}/bin/python {BEARER} --registered"),
    )


def check_build(context: Context) -> Sequence[Check]:
    return (
        Check("software.image", "farmlet.parts.software.checks:check_image", {"path": places.find_image(image.analysis().name)}),
    )


def check_client(context: Context) -> Sequence[Check]:
    call = "farmlet.parts.software.checks:check_run"
    return (Check("software.run", call, {"path": places.find_image(image.analysis().name)}, seconds=30),)


PART = Part(
    name="software",
    summary="images that jobs and members run in",
    section=Software,
    # a compiler has to be there first: Debian 13's do not go with a C library of sid, if Apptainer should want that one day
    needs=("base", "storage"),
    roles=(
        Role("build", "control", configure_build, install_build, check_build, publishes=places.SOFTWARE),
        Role(
            "client",
            "members",
            lambda context: (),
            install_client,
            check_client,
            images=lambda facility: (image.analysis().name,),
        ),
    ),
)
