"""The token of a sandbox server that other machines reach: the same in the environment of the server and its clients.

    token = check_token(os.environ.get(TOKEN))       # None if there is none

It is never part of the options: those are recorded with a run, and shown in messages.
"""

from spo_data.errors import UserError

TOKEN = "SPO_SANDBOX_TOKEN"
"""The environment variable."""
LEAST_CHARACTERS = 16
MAKE_TOKEN = f"export {TOKEN}=$(openssl rand -hex 32)"


def check_token(token: str | None) -> str | None:
    """Return the token, None if it is empty; raises UserError, without the token, if it is easy to guess or garbled."""
    if not token:
        return None
    if len(token) < LEAST_CHARACTERS or not (token.isascii() and token.isprintable()) or " " in token:
        raise UserError(
            f"{TOKEN}: a token has at least {LEAST_CHARACTERS} ASCII characters and no spaces; `{MAKE_TOKEN}` makes one"
        )
    return token
