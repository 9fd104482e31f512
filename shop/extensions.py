"""Flask's extensions, bound to an application by the factory."""

from flask import Response
from flask_babel import Babel
from flask_bootstrap import Bootstrap5
from flask_login import LoginManager

from shop.security import FormProtection


class Login(LoginManager):  # type: ignore[misc]
    """Flask-Login, which would look into the visitor's session at every answer."""

    def _update_remember_cookie(self, response: Response) -> Response:
        # There is no such cookie: an owner stays signed in by a row.
        return response


csrf = FormProtection()
babel = Babel()
bootstrap = Bootstrap5()
login = Login()
