"""The board of the 2022 Django tutorial in one file: it lists all topics and saves new ones.

Django's usual middleware is there, as `startproject` writes it; paying is left out.
"""

import os
from pathlib import Path

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(
    SECRET_KEY="for measuring only",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(os.environ["BENCH_FOLDER"]) / "tutorial.sqlite3",
        }
    },
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ],
                "loaders": [
                    (
                        "django.template.loaders.cached.Loader",
                        [("django.template.loaders.locmem.Loader", {"index.html": """
<!doctype html><html lang="ja"><head><meta charset="utf-8"><title>BBS</title></head><body>
<form method="post">{% csrf_token %}<textarea name="comment"></textarea><button>Post</button></form>
{% for topic in topics %}<div class="topic"><p>{{ topic.comment|linebreaksbr }}</p></div>
{% endfor %}</body></html>"""})],
                    )
                ],
            },
        }
    ],
)  # fmt: skip
django.setup()

from django.db import connection, models  # noqa: E402 — Django wants its settings first
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.shortcuts import redirect, render  # noqa: E402
from django.urls import path  # noqa: E402
from django.views import View  # noqa: E402


class Topic(models.Model):
    """What somebody wrote."""

    comment = models.CharField(max_length=2000)

    class Meta:
        app_label = "bench"


class IndexView(View):
    """The one page."""

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show all topics."""
        return render(request, "index.html", {"topics": Topic.objects.all()})

    def post(self, request: HttpRequest) -> HttpResponse:
        """Save a topic."""
        Topic(comment=request.POST["comment"]).save()
        return redirect("/")


urlpatterns = [path("", IndexView.as_view())]
app = get_wsgi_application()


def fill(topics: list[str]) -> None:
    """Make the table, with these topics."""
    with connection.schema_editor() as editor:
        editor.create_model(Topic)
    Topic.objects.bulk_create(Topic(comment=text) for text in topics)
