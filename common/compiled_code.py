"""Where numba keeps the code that it compiles, on machines where its own places may not be written."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def keep_compiled_code(source: str) -> None:
    """Gives numba a folder where that of the sources is read-only; to be called before numba is imported.

    The folder is in the system's folder for temporary files, the same one each time. What is in it is run, so that one
    of another user, or one that others may write to, is not taken: then it is a new one, for this process alone.

    Args:
        source: the path of a source whose functions are compiled.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or os.access(Path(source).parent, os.W_OK):
        return
    folder = Path(tempfile.gettempdir()) / f"spout_numba_{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        is_ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022
    except OSError:
        is_ours = False
    os.environ["NUMBA_CACHE_DIR"] = os.fspath(folder) if is_ours else tempfile.mkdtemp(prefix="spout_numba_")
