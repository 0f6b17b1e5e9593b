# ruff: noqa: PLR2004 - a phrasing stands in one line, shares stand where they are drawn
"""Wishes about files: write, read, pass on, copy, move and delete."""

from __future__ import annotations

from agentflow.embedded.data.clauses import Draft
from agentflow.embedded.data.scenes.scene import Scene
from agentflow.embedded.data.scenes.words import Words
from agentflow.embedded.simulated.files import FileTree


class FileScene(Scene):
    """Wishes about files."""

    @classmethod
    def start(cls, draft: Draft) -> FileScene:
        """Draw some files."""
        words, num = Words(draft), draft.rng.randint(3, 7)
        return cls(draft, words, FileTree(files={_path(draft, words): words.errand() for _ in range(num)}))

    def _any(self) -> str:
        return self.pick(sorted(self.world.files))

    def _new(self) -> str:
        while (path := _path(self.draft, self.words)) in self.world.files:
            pass
        return path

    def written(self) -> str:
        """Write a text."""
        path, text = self._new(), self.words.errand()
        self.world.call("write_text", path=path, text=text)
        return self.say(
            "[write|put|save|store] {q}{x}{q} [to|into|in|to the file] {p}",
            "[write|make|create|save] [the file |a file |]{p} [with|that says|containing|with the text] {q}{x}{q}",
            x=text, p=path, q=self.rng.choice(('"', '"', "'")),
        )  # fmt: skip

    def read(self) -> str:
        """Read a file."""
        path = self._any()
        self.tell("text|content|says", self.world.call("read_text", path=path)["text"])
        return self.say(
            "@read [|the file ]{p}",
            "@find the [text|content|contents] of {p}",
            "@ask what [{p} says|is in {p}]",
            p=path,
        )

    def passed_on(self) -> str:
        """Write what another file says."""
        path, target = self._any(), self._new()
        text = self.world.call("read_text", path=path)["text"]
        self.world.call("write_text", path=target, text=text)
        self.tell("text|content|says", text)
        return self.say(
            "@read {p} and [write|save|put|store] [what it says|its text|what you find|the text] [to|into|in] {t}",
            "[write|save|put] what {p} says [to|into|in] {t}",
            p=path, t=target,
        )  # fmt: skip

    def moved(self) -> str:
        """Copy, move or delete a file."""
        kind = self.rng.choice(("copy", "move", "delete") if len(self.world.files) > 1 else ("copy", "move"))
        path = self._any()
        if kind == "delete":
            self.world.call("delete_file", path=path)
            return self.say("[delete|remove|erase] [|the file ]{p}", "[throw away|get rid of] {p}", p=path)
        target = self._new()
        self.world.call(f"{kind}_file", source=path, target=target)
        verb = "copy|duplicate" if kind == "copy" else "move|rename"
        return self.say(f"[{verb}] [|the file ]{{p}} to {{t}}", p=path, t=target)

    wishes = (written, written, read, passed_on, moved)


def _path(draft: Draft, words: Words) -> str:
    stem = words.stem()
    if draft.rng.random() < 0.5:
        stem = f"{stem}_{words.noun()}"
    folder = draft.rng.choice(("", "", "", "drafts/", "old/", "shared/", f"{draft.values.folder()}/"))
    return f"{folder}{stem}.{'txt' if words.are_few else draft.rng.choice(('txt', 'txt', 'txt', 'md', 'log'))}"
