"""verl's loggers, which it starts after minutes, in one of Ray's workers: known, installed, and with their keys.

check_loggers(config, os.environ)         # raises UserError, or SpoError for what is missing on this machine
"""

import difflib
import netrc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spo_data.errors import SpoError, UserError
from spo_train.config.compose import FILE_LOGGER
from spo_train.config.keys import LOGGER_KEY, RAY_INIT
from spo_train.plan import packages

if TYPE_CHECKING:
    from omegaconf import DictConfig

MODULES = {
    "wandb": ("wandb", "wandb"),
    "tracking": ("wandb", "wandb"),
    "mlflow": ("mlflow", "mlflow"),
    "swanlab": ("swanlab", "swanlab"),
    "vemlp_wandb": ("volcengine_ml_platform", "volcengine-ml-platform"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "clearml": ("clearml", "clearml"),
    "trackio": ("trackio", "trackio"),
    "rl_insight": ("rl_insight", "rl-insight"),
}
"""The module that a logger imports, and the package to install."""
VOLCENGINE = ("VOLC_ACCESS_KEY_ID", "VOLC_SECRET_ACCESS_KEY", "MLP_TRACKING_REGION")

Environment = Mapping[str, str]


def check_loggers(config: "DictConfig", environment: Environment, *, elsewhere: bool = False) -> None:
    """Raise an error for a logger that verl does not know, or that would fail when it starts.

    `elsewhere`: the logger may start on another machine, with that machine's environment: keys are not looked for.
    """
    from omegaconf import OmegaConf
    from verl.utils.tracking import Tracking

    given = OmegaConf.select(config, LOGGER_KEY)
    known = Tracking.supported_backend
    names = [given] if isinstance(given, str) else list(given)
    environment = {**environment, **dict(OmegaConf.select(config, f"{RAY_INIT}.runtime_env.env_vars") or {})}
    for name in names:
        if name not in known and name != "tracking":  # verl's old name of wandb
            near = difflib.get_close_matches(str(name), known, n=1)
            suggestion = f"did you mean {near[0]}?" if near else f"verl knows {', '.join(known)}"
            raise UserError(f"{LOGGER_KEY}: verl has no logger {name}; {suggestion}")
        module, package = MODULES.get(name, (None, None))
        if module is not None and not packages.is_installed(module):
            others = ",".join(str(other) for other in names if other not in (name, FILE_LOGGER))
            raise SpoError(
                f"{LOGGER_KEY}: {package} is not installed: pip install {package}, or {LOGGER_KEY}=[{others}]"
            )
        missing = None if elsewhere else _find_lack(str(name), environment)
        if missing is not None:
            raise SpoError(f"{LOGGER_KEY}: {name} {missing}")


def _find_lack(name: str, environment: Environment) -> str | None:
    find = _FINDERS.get(name)
    return None if find is None else find(environment)


def _miss_wandb(environment: Environment) -> str | None:
    if environment.get("WANDB_MODE", "online") not in ("online", "run", "shared"):
        return None  # it sends nothing
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return None
    host = urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    home = Path.home()
    given = environment.get("NETRC")
    files = [Path(given).expanduser()] if given else [home / ".netrc", home / "_netrc"]
    settings = [Path("wandb/settings"), home / ".config" / "wandb" / "settings"]
    if any(_has_login(file, host) for file in files) or any(_says_how(file) for file in settings):
        return None
    return "has no API key: wandb login, export WANDB_API_KEY=…, or export WANDB_MODE=offline"


def _has_login(file: Path, host: str) -> bool:
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _says_how(settings: Path) -> bool:
    """Whether a settings file of wandb may hold a key, or `wandb offline`."""
    text = settings.read_text(errors="replace") if settings.is_file() else ""
    return any(name in text for name in ("api_key", "mode", "disabled"))


def _miss_swanlab(environment: Environment) -> str | None:
    if environment.get("SWANLAB_MODE", "cloud") not in ("cloud", "online") or environment.get("SWANLAB_API_KEY"):
        return None
    root = environment.get("SWANLAB_ROOT") or environment.get("SWANLAB_SAVE_DIR") or Path.home() / ".swanlab"
    if any((Path(folder) / ".netrc").is_file() for folder in (".swanlab", root)):
        return None
    return "has no API key: swanlab login, export SWANLAB_API_KEY=…, or export SWANLAB_MODE=local"


def _miss_volcengine(environment: Environment) -> str | None:
    missing = [name for name in VOLCENGINE if name not in environment]
    return f"needs {', '.join(missing)}: export {missing[0]}=…" if missing else None


def _miss_clearml(environment: Environment) -> str | None:
    names = ("CLEARML_API_ACCESS_KEY", "TRAINS_API_ACCESS_KEY", "CLEARML_OFFLINE_MODE", "CLEARML_AUTH_TOKEN")
    if any(environment.get(name) for name in names):
        return None
    given = environment.get("CLEARML_CONFIG_FILE") or environment.get("TRAINS_CONFIG_FILE")
    files = [Path(given).expanduser()] if given else [Path.home() / "clearml.conf", Path.home() / "trains.conf"]
    if any(file.is_file() for file in files):
        return None
    return "has no credentials: clearml-init, or export CLEARML_API_ACCESS_KEY=… CLEARML_API_SECRET_KEY=…"


_FINDERS: Mapping[str, Callable[[Environment], str | None]] = {
    "wandb": _miss_wandb,
    "tracking": _miss_wandb,
    "swanlab": _miss_swanlab,
    "vemlp_wandb": _miss_volcengine,
    "clearml": _miss_clearml,
}
"""What each logger lacks to start, or None."""
