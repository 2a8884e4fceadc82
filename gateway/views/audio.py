"""POST /v1/audio/speech, /v1/audio/transcriptions, /v1/audio/translations"""

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.media import bound_of_transcript, read_speech
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["audio"])
_SPOKEN = (b"speech.audio.done",)
_WRITTEN = (b"transcript.text.done",)
_SPEECH = Route("audio", "POST", "/audio/speech", read_speech, terminal=_SPOKEN, is_open=True)
_TRANSCRIPTIONS = Route(
    "audio", "POST", "/audio/transcriptions", bound=bound_of_transcript, terminal=_WRITTEN, is_open=True
)
_TRANSLATIONS = Route("audio", "POST", "/audio/translations", bound=bound_of_transcript, is_open=True)


@router.post("/audio/speech", summary="Create speech", url_name="speech")
async def create_speech(request: LeanRequest) -> HttpResponseBase:
    """Answered by the provider, as sound or as a stream; counted as a request, and in tokens where it tells them."""
    return await carry(request, _SPEECH)


@router.post("/audio/transcriptions", summary="Transcribe sound", url_name="transcriptions")
async def transcribe(request: LeanRequest) -> HttpResponseBase:
    """The same for a form with sound, which goes up as it comes."""
    return await carry(request, _TRANSCRIPTIONS)


@router.post("/audio/translations", summary="Translate sound", url_name="translations")
async def translate(request: LeanRequest) -> HttpResponseBase:
    """The same for translations into English."""
    return await carry(request, _TRANSLATIONS)
