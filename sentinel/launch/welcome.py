"""What a newcomer reads when the sandbox is up: whom to call as, how, and where to watch what happened."""

CAST = {
    "ada": "has room: calls are answered and metered",
    "ben": "has one output token left: only a call that asks for one (max_tokens: 1) is answered",
    "cleo": "her token is revoked: 401",
    "dora": "is unlimited",
    "eli": "is far over his quota: 429 quota_exceeded",
}

TEXT = """
Sentinel is ready at {url}

Call it as one of these:
{cast}

A streamed answer:
  curl -N {url}/v1/chat/completions \\
    -H 'Authorization: Bearer ada-token' -H 'Content-Type: application/json' \\
    -d '{{"model": "gpt-4o-mini", "stream": true, "messages": [{{"role": "user", "content": "Hello!"}}]}}'

The same with the official client:
  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="ada-token")
  messages = [{{"role": "user", "content": "Hello!"}}]
  for chunk in client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True):
      print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="")

Watch it:
  admin            {url}/admin/    {admin} / {password}
  metrics          {url}/metrics
  usage at Zion    {zion}/_control/ledger
  logs             {logs}
  another shell    manage.py commands find this stack; begin with: .venv/bin/python manage.py doctor

Ctrl-C stops everything.
"""


def welcome(*, url: str, zion: str, admin: str, password: str, logs: str) -> str:
    """The text for these addresses."""
    width = max(map(len, CAST))
    cast = "\n".join(
        f"  Authorization: Bearer {name}-token{'':{width - len(name)}}  {what}" for name, what in CAST.items()
    )
    return TEXT.format(url=url, zion=zion, admin=admin, password=password, logs=logs, cast=cast)
