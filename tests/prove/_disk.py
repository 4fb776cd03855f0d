"""A disk that loses its power: an ext4 file system in an image file, copied as it lies on the disk at one moment."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from prove import Miss

_TRIES = 50


class Disk:
    """An image that is mounted at ``at``. Needs root and a loop device (raises Miss without).

    ``cut`` copies the image as the file system has written it so far, journal included. What programs wrote and did not sync
    lies in the page cache of the mounted file system, not in the image: copying the image does not write it out, so it is
    lost as it would be. Journal commits (``commit=60``) and delayed writing are far apart, so that little comes to the image
    that nobody asked for. The copy is of one moment: it is taken again when the loop device wrote anything meanwhile.
    What this does not show is a disk that loses or reorders what it has taken over and was told to flush.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder, self._number = folder, 0
        self.at = folder / "mounted"
        self.at.mkdir()
        with self._image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        self._mount()

    @property
    def _image(self) -> Path:
        return self._folder / f"image-{self._number}"

    def _mount(self) -> None:
        _run("mount", "-o", "loop,commit=60", str(self._image), str(self.at))

    def cut(self) -> None:
        """Copy the image as it lies on the disk now; ``come_back`` mounts that copy. Whoever writes must be stopped."""
        source = _run("findmnt", "-n", "-o", "SOURCE", str(self.at)).strip()
        copy = self._folder / f"image-{self._number + 1}"
        for _ in range(_TRIES):
            before = _writes(source)
            _run("cp", "--sparse=always", str(self._image), str(copy))
            if before is not None and before == _writes(source):
                return
            time.sleep(0.05)
        raise Miss("the disk was never quiet for the time of a copy")

    def come_back(self) -> None:
        """Throw away the file system as it is, and mount the copy in its place; all who used it must be gone."""
        _run("umount", str(self.at))
        self._image.unlink()
        self._number += 1
        self._mount()

    def close(self) -> None:
        """Unmount and remove it."""
        if os.path.ismount(self.at):
            _run("umount", str(self.at))
        for image in self._folder.glob("image-*"):
            image.unlink()
        shutil.rmtree(self.at)


def _writes(device: str) -> tuple[str, ...] | None:
    """Writes that a block device has carried out; None while one is under way. (Documentation/block/stat.rst)"""
    numbers = Path(f"/sys/block/{Path(device).name}/stat").read_text().split()
    return (numbers[4], numbers[6]) if numbers[8] == "0" else None


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    except FileNotFoundError as error:
        raise Miss(f"{command[0]} is missing on this machine") from error
    except subprocess.CalledProcessError as error:
        raise Miss(f"{' '.join(command)}: {error.stderr.strip()} (this claim needs root and a loop device)") from error
