"""Flask's extensions, bound to an application by the factory."""

from flask_babel import Babel
from flask_bootstrap import Bootstrap5
from flask_login import LoginManager

from shop.security import FormProtection

csrf = FormProtection()
babel = Babel()
bootstrap = Bootstrap5()
login = LoginManager()
