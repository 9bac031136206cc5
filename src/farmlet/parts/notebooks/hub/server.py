"""One member's server: as their own user, with their home, a fresh token and the software of jobs. `docker` and `unit` run it."""

from __future__ import annotations

import asyncio
import shutil
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyterhub.spawner import Spawner, SpawnException

from farmlet.errors import FarmletError
from farmlet.facility.places import CREDENTIAL
from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.notebooks.hub import container
from farmlet.parts.notebooks.hub.foreign import Foreign, list_foreign
from farmlet.parts.notebooks.hub.own import LABEL, Images, Own
from farmlet.parts.notebooks.hub.settings import Settings
from farmlet.parts.notebooks.room import Idle, measure
from farmlet.parts.notebooks.roster import NOT_HERE, Member, Roster
from farmlet.parts.notebooks.sizes import CHOICES, GIB, LEAST, Size, choose, limit, suggest

SOFTWARE = "software"  # not `image`, which the spawner takes for a container image whatever it says
LOOK_SECONDS = 0.1  # how often a server that starts is asked
WORDS = 600  # characters of what a server said last that are shown
SILENT = (
    "For {:.0f} hours this node has not been told who is a member: the facility's log-in is away, and no server begins until it "
    "is back. Those that run go on, and so do your jobs. Tell your admins."
)
LATER = "Try again in a minute; if it stays so, tell your admins."


class Refused(SpawnException):  # type: ignore[misc]
    """A server that does not start; the Hub shows the words, and counts them by `reason`, one word."""

    def __init__(self, reason: str, words: str, status: int = 503) -> None:
        super().__init__(words, reason=reason, status_code=status)
        self.jupyterhub_message = words  # else its page puts names of ours before them


def say_day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


class Server(Spawner):  # type: ignore[misc]
    """A server that may do what its member may on the node, and no more."""

    user_options: dict[str, Any]
    settings: Settings  # these are set by `configuration`
    roster: Roster
    own: Images
    idle = Idle()
    stage = (0, "")  # how far the start is, in percent and in words

    @abstractmethod
    async def launch(self) -> tuple[str, int]:
        """Begin it, as `container.arrange` has told; where it is going to listen."""

    @abstractmethod
    async def end(self, now: bool = False) -> None:
        """End it, and leave nothing of it."""

    @abstractmethod
    async def find_end(self) -> tuple[int, bool, str]:
        """Of a server that ended: its exit status, whether for want of memory, what it said last."""

    async def await_image(self, tag: str) -> None:
        """Return when the node has the software as this way of running a server wants it."""

    async def options_form(self, *_: Any) -> str:
        """The fields of the page; within the member's limits."""
        most = self.find_limit()
        last = self.find_last(most)
        own, silent = await self.find_own(self.find_member())
        page = self.user.settings["jinja2_env_sync"].get_template("options.html")
        text: str = page.render(
            offered=[(row, say_day(row.tested)) for row in self.list_offered().values()],
            silent=silent,
            own=[(one, say_day(one.made)) for one in own.values()],
            foreign=[(one, say_day(one.tested)) for one in list_foreign(self.settings.unpacked)],
            user=self.user.name,
            image=self.find_last_software(own),
            free=f"{await self.idle.find():.1f} cores, {measure() / GIB:.1f} GiB of memory",
            space=list(self.find_space()),
            credential=self.has_credential(),
            most=most,
            last=last,
            least=f"{min(LEAST, most.memory) / GIB:g}",
        )
        return text

    def list_offered(self) -> dict[str, Row]:
        """The images that passed their tests, by name."""
        return {row.name: row for row in images.load(Path(self.settings.image).parent).values() if row.offered}

    async def find_software(self, member: Member) -> Row | Own | Foreign:
        """The image that was chosen, or the usual one; by the Hub's API anything may come."""
        offered = self.list_offered()
        wanted = self.user_options.get(SOFTWARE, Path(self.settings.image).name)
        if not offered:
            raise Refused("image", f"The software ({self.settings.image}) is not published. {LATER}")
        own, silent = await self.find_own(member) if isinstance(wanted, str) and LABEL.fullmatch(wanted) else ({}, "")
        if silent:
            raise Refused("own", f"{silent[0].upper()}{silent[1:]}. {LATER}")
        others: dict[str, Own | Foreign] = {**{one.label: one for one in list_foreign(self.settings.unpacked)}, **own}
        if isinstance(wanted, str) and (found := offered.get(wanted)):
            return found
        if not isinstance(wanted, str) or wanted not in others:
            there = [*offered, *(label for label, one in others.items() if not one.why)]
            raise Refused("image", f"There is no such software. You may have: {', '.join(there)}.", 400)
        if others[wanted].why:
            raise Refused("image", f"{wanted} cannot run here: {others[wanted].why}.", 400)
        return others[wanted]

    async def find_own(self, member: Member) -> tuple[dict[str, Own], str]:
        """The images of members that this one may have, or why nobody knows."""
        try:
            return await self.own.list(member), ""
        except FarmletError as error:
            self.log.warning("%s: %s", member.name, error)
            return {}, f"{error.where} {error.what}"

    def find_last_software(self, own: Mapping[str, Own]) -> str:
        """What the member chose last, as long as it is offered."""
        last = str((self.orm_spawner.user_options or {}).get(SOFTWARE))
        others: list[Own | Foreign] = [*own.values(), *list_foreign(self.settings.unpacked)]
        there = last in self.list_offered() or last in [one.label for one in others if not one.why]
        return last if there else Path(self.settings.image).name

    def options_from_form(self, form: Mapping[str, list[str]]) -> dict[str, str]:
        return {name: values[0] for name, values in form.items() if name in (*CHOICES, SOFTWARE) and values}

    def find_last(self, most: Size) -> Size:
        """What the member chose last, where they still may."""
        try:
            return choose(self.orm_spawner.user_options or {}, self.settings.usual, most)
        except ValueError:
            return suggest(self.settings.usual, most)

    def find_space(self) -> Iterator[tuple[str, str]]:
        """What the member's folders hold, in the words of their log-in: kind, words."""
        try:
            lines = Path(self.settings.usage).read_text().splitlines()
        except OSError:
            return
        for name, kind, words in (line.split(" ", 2) for line in lines if line.count(" ") > 1):
            if name == self.user.name:
                yield kind, words

    def has_credential(self) -> bool:
        return Path(self.settings.credentials, self.user.name, f"{CREDENTIAL}.use").exists()

    @classmethod
    def count(cls, name: str) -> int:
        """How many servers the member of this name may have at a time."""
        member = cls.roster.find(name)
        return (member and member.servers) or cls.settings.servers

    def list_others(self) -> list[Server]:
        """The member's other servers that run or begin to."""
        return [one for one in self.user.spawners.values() if one is not self and one.active]

    def find_member(self) -> Member:
        member = self.roster.find(self.user.name)
        if member is None:
            raise Refused("member", NOT_HERE, 403)
        return member

    def find_limit(self) -> Size:
        member = self.find_member()
        return limit(self.settings.usual, member.cores, member.memory)

    async def start(self, *_: Any, **__: Any) -> Any:
        """Everything is looked at anew: groups may have changed, and wishes come by the API too."""
        member = self.find_member()
        if Path(self.settings.closed).exists():
            raise Refused("closed", "This node is being emptied: no notebook begins here just now.")
        self.check_heard()
        if len(self.list_others()) >= (most := self.count(member.name)):
            words = f"You may have {most} server{'s' if most > 1 else ''} at a time: stop another one first."
            raise Refused("number", words, 400)
        size = self.choose_size()
        software = await self.find_software(member)
        # nothing else of it counts
        self.user_options = {"cores": size.cores, "memory": size.gib, SOFTWARE: software.label}
        self.stage = 10, "Looking for the software on this node"
        await self.await_image(software.tag)
        self.stage = 30, f"Making your server: {size.cores} cores, {size.gib:g} GiB"
        await self.arrange(member, size, software)
        host, port = await self.launch()
        self.stage = 60, "Waiting for JupyterLab"
        await self.await_answer(host, port)
        return host, port

    def check_heard(self) -> None:
        """Whoever had to leave meanwhile would begin servers for ever."""
        silence = self.roster.measure_silence()
        if self.settings.silent and silence > self.settings.silent:
            raise Refused("silent", SILENT.format(silence / 3600))

    async def arrange(self, member: Member, size: Size, software: Row | Own | Foreign) -> None:
        """How it is made."""
        if isinstance(software, Foreign):
            container.arrange(self, self.settings, member, size, software.root, whole=True)
            self.environment["PATH"] = software.path
            return
        root = self.own.find_root(software) if isinstance(software, Own) else Path(software.path)
        container.arrange(self, self.settings, member, size, root)
        if isinstance(software, Own):
            await self.unpack(member, software)

    async def unpack(self, member: Member, image: Own) -> None:
        """The member's packages, for the server to put in their place: in a folder of theirs, and by a process of theirs."""
        scratch = Path(self.settings.scratch, member.name)
        kept = [folder for one in self.list_others() if (folder := one.environment.get(container.OWN))]
        try:
            folder = await self.own.unpack(member, image, str(scratch) if scratch.is_dir() else member.home, kept)
        except FarmletError as error:
            raise Refused("own", f"Your image did not get ready: {error.where}: {error.what}", 400) from error
        container.add_own(self, folder)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What the page says meanwhile."""
        told = None
        while True:
            if self.stage != told:
                told = self.stage
                yield {"progress": told[0], "message": told[1]}
            await asyncio.sleep(LOOK_SECONDS)

    def choose_size(self) -> Size:
        try:
            size = choose(self.user_options, self.settings.usual, self.find_limit())
        except ValueError as error:
            raise Refused("size", str(error), 400) from error
        if size.memory > (free := measure()):
            words = f"{size.gib:g} GiB of memory: this node has {free / GIB:.1f} GiB free now. Choose less, or try again later."
            raise Refused("memory", words)
        return size

    async def await_answer(self, host: str, port: int) -> None:
        """Return when the server listens. The Hub itself would look ever more seldom, and for one that has ended too."""
        for turn in range(round(self.start_timeout / LOOK_SECONDS)):
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                if turn % 10 == 9 and await self.poll() is not None:
                    raise Refused("ended", await self.tell_end()) from None
                await asyncio.sleep(LOOK_SECONDS)
            else:
                writer.close()
                return

    async def tell_end(self) -> str:
        """Why a server ended before it was there, as far as it shows."""
        status, memory, said = await self.find_end()
        if memory or status == 137:
            return "Your server took more memory than you chose while it started. Choose more."
        return f"Your server ended while it started ({status}). It said last: {said.strip()[-WORDS:] or 'nothing'}"

    async def poll(self) -> int | None:
        status: int | None = await super().poll()
        return status

    async def stop(self, now: bool = False) -> None:
        await self.end(now)
        if not self.list_others():  # the token is theirs too
            shutil.rmtree(Path(self.settings.tokens, self.user.name), ignore_errors=True)
