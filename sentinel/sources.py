"""Where settings come from besides the environment and `.env`: secret files, and the run file of a running stack.

The run file is what `sentinel.launch` leaves in the data folder while it runs. It lets `manage.py` in another shell
find the embedded Redis (and, in the sandbox, the simulators) without any variable being set.
"""

import fcntl
import json
import os
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

RUN_FILE = "run.json"


class SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE` gives the path of a file whose content is the value of `NAME`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """The file's text without its last line end; None where no file is named."""
        path = os.environ.get(f"{field_name.upper()}_FILE")
        return (Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None), field_name, False

    def __call__(self) -> dict[str, object]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class RunFile(PydanticBaseSettingsSource):
    """The settings that a running stack in this data folder uses and that the environment does not set."""

    def __init__(self, settings_cls: type[BaseSettings], dotenv: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._dotenv = dotenv

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[object, str, bool]:
        """Unused: the file is read once, as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, object]:
        default = self.settings_cls.model_fields["sentinel_data_dir"].default
        chosen = self.current_state.get("sentinel_data_dir") or self._dotenv().get("sentinel_data_dir") or default
        return dict(read_run_file(Path(str(chosen))).get("settings", {}))


def read_run_file(data_dir: Path) -> dict[str, dict[str, object]]:
    """What the stack that runs from this folder says about itself; empty when none runs.

    The launcher holds a lock on the file for as long as it lives, so a file left by a killed one is not believed,
    whatever process has its number now.
    """
    try:
        with (data_dir / RUN_FILE).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return json.load(file)  # type: ignore[no-any-return]  # written by our launcher only
    except (OSError, json.JSONDecodeError):
        return {}  # no file, another user's, or one just being written: as if nothing ran
    return {}
