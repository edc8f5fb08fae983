"""Django in one file, under gunicorn with gevent workers.

    pip install django 'gevent-dispatcher[examples]'
    cd examples
    gunicorn -c gunicorn.conf.py django_app:application
    curl 'http://127.0.0.1:8000/checkout?user=alice'

In a project of many files, the client belongs into a module of its own that views import, or into an AppConfig.ready().
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.urls import path
from local_endpoint import send_events_to

from gevent_dispatcher.sdk import create_client

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_hex(),
)

if "EVENTS_URL" in os.environ:
    send_events_to(os.environ["EVENTS_URL"])

DATAFILE = Path(__file__).with_name("datafile.json").read_text(encoding="utf-8")

client = create_client(DATAFILE)


def checkout(request: HttpRequest) -> HttpResponse:
    """Decide and track."""
    name = request.GET.get("user")
    if not name:
        return HttpResponseBadRequest("say who is buying: /checkout?user=alice")
    user = client.create_user_context(name)
    decision = user.decide("checkout_flow")
    user.track_event("purchase", {"revenue": 4200})
    return JsonResponse({"variation": decision.variation_key})


urlpatterns = [path("checkout", checkout)]

application = get_wsgi_application()
