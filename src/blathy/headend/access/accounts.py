"""Users, passwords (argon2id), sessions, tokens and the throttle on guessing."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend.access.roles import Role
from blathy.headend.database import Database
from blathy.headend.inventory.description import UserDescription
from blathy.headend.operations import audit
from blathy.headend.schema import api_token, audit_entry, login_session, user_account
from blathy.headend.sentence import ExplainedError, Value

SESSION_S: Final = 12 * 3600
SESSIONS_PER_USER: Final = 20
TOKENS_PER_USER: Final = 20
PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 256
GUESSES: Final = 10
"""Failed log-ins in an hour, per user name and per address, after which all are refused."""
GUESS_WINDOW_S: Final = 3600
GUESSERS_MAX: Final = 10_000
HASHES_AT_ONCE: Final = 2
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}", re.ASCII)


class AccessError(ExplainedError):
    """Refused. `status` is the HTTP status that says why."""

    def __init__(
        self, status: int, title: str, code: str, detail: str, remedy: str, /, **values: Value
    ) -> None:
        super().__init__(code, detail, remedy, **values)
        self.status = status
        self.title = title


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `csrf` is None for tokens, which no browser sends by itself."""

    user: str
    role: Role
    point_id: str | None
    csrf: str | None = None

    def may_see(self, point_id: str) -> bool:
        """A consumer sees their own point only."""
        return self.role is not Role.CONSUMER or self.point_id == point_id


@dataclass(slots=True)
class _Session:
    user: str
    csrf: str
    expires_at: int


def _mark(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Accounts:
    """Users and how they prove themselves. Secrets are kept only as hashes."""

    def __init__(
        self,
        database: Database,
        now: Callable[[], float],
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._database = database
        self._now = now
        self._hasher = hasher or PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._dummy = self._hasher.hash(secrets.token_hex(16))
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._users: dict[str, Any] = {}
        self._sessions: dict[str, _Session] = {}
        self._tokens: dict[str, tuple[str, str, int | None]] = {}
        self._failures: dict[str, deque[float]] = defaultdict(deque)

    def open(self) -> None:
        """Load users, sessions, tokens, and the failed log-ins of the last hour."""
        now = int(self._now())

        def query(connection: Connection) -> None:
            connection.execute(sa.delete(login_session).where(login_session.c.expires_at <= now))
            self._users = {r.name: r for r in connection.execute(sa.select(user_account))}
            self._sessions = {
                r.token_hash: _Session(r.user_name, r.csrf, r.expires_at)
                for r in connection.execute(sa.select(login_session))
            }
            self._tokens = {
                r.token_hash: (r.id, r.user_name, r.expires_at)
                for r in connection.execute(sa.select(api_token))
            }
            failed = connection.execute(
                sa.select(audit_entry.c.at, audit_entry.c.target).where(
                    audit_entry.c.action == "session.login",
                    audit_entry.c.outcome == "refused",
                    audit_entry.c.at > now - GUESS_WINDOW_S,
                )
            )
            for r in failed:
                self._failures[r.target].append(r.at)

        self._database.write_now(query)

    # -- users ----------------------------------------------------------------------------------

    def create_first(self, users: tuple[UserDescription, ...]) -> None:
        """Create the described users that do not exist yet."""
        for user in users:
            if user.name in self._users:
                continue
            row = self._row(user.name, user.password, user.role, user.point or None)
            self._database.write_now(partial(_insert_user, row=row))
            self._reload()

    async def create(
        self, by: str, name: str, password: str, role: str, point_id: str | None
    ) -> dict[str, Any]:
        """A new user; raise AccessError 409 where the name is taken, 422 for bad fields."""
        if name in self._users:
            raise AccessError(
                409, "Exists", "user-exists", "There is a user {user} already.", "Take another.",
                user=name,
            )  # fmt: skip
        check_password(password)
        async with self._hashing:
            row = await asyncio.to_thread(self._row, name, password, role, point_id)

        def change(connection: Connection) -> None:
            _insert_user(connection, row)
            detail = {"role": role, "point": point_id}
            audit.append(connection, row["created_at"], by, "user.create", name, "done", detail)

        await self._database.write(change)
        await asyncio.to_thread(self._reload)
        return self.describe(name)

    async def edit(self, by: str, name: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change role, point, enabled or password. Ends the user's sessions."""
        user = self._users.get(name)
        if user is None:
            raise AccessError(
                404, "Not found", "no-user", "There is no user {user}.", "See the list.", user=name
            )
        values: dict[str, Any] = {}
        if changes.get("role") is not None:
            values["role"] = _role(changes["role"]).value
        if "point" in changes:
            values["point_id"] = changes["point"]
        if changes.get("enabled") is not None:
            values["enabled"] = bool(changes["enabled"])
        role = values.get("role", user.role)
        if role == Role.CONSUMER.value and not values.get("point_id", user.point_id):
            raise _needs_point()
        self._keep_an_admin(name, role, enabled=values.get("enabled", user.enabled))
        if changes.get("password") is not None:
            check_password(changes["password"])
            async with self._hashing:
                values["password_hash"] = await asyncio.to_thread(
                    self._hasher.hash, changes["password"]
                )
        now = int(self._now())
        shown = {k: v for k, v in changes.items() if k != "password"}
        shown["password_changed"] = "password" in changes

        def change(connection: Connection) -> None:
            if values:
                connection.execute(
                    sa.update(user_account).where(user_account.c.name == name).values(values)
                )
            connection.execute(sa.delete(login_session).where(login_session.c.user_name == name))
            audit.append(connection, now, by, "user.edit", name, "done", shown)

        await self._database.write(change)
        self._sessions = {h: s for h, s in self._sessions.items() if s.user != name}
        await asyncio.to_thread(self._reload)
        return self.describe(name)

    def _keep_an_admin(self, name: str, role: str, *, enabled: bool) -> None:
        others = any(
            u.role == Role.ADMIN.value and u.enabled and u.name != name
            for u in self._users.values()
        )
        if not others and not (role == Role.ADMIN.value and enabled):
            raise AccessError(
                409,
                "Refused",
                "last-administrator",
                "This is the last administrator.",
                "Make another one first.",
            )

    def describe(self, name: str) -> dict[str, Any]:
        user = self._users[name]
        last = user.last_login_at
        return {
            "name": user.name,
            "role": user.role,
            "point": user.point_id,
            "enabled": user.enabled,
            "created_at": iso_utc(user.created_at),
            "last_login_at": iso_utc(last) if last is not None else None,
        }

    def all(self) -> list[dict[str, Any]]:
        return [self.describe(name) for name in sorted(self._users)]

    def _row(self, name: str, password: str, role: str, point_id: str | None) -> dict[str, Any]:
        if not _NAME.fullmatch(name):
            raise AccessError(
                422,
                "Wrong name",
                "not-a-user-name",
                "'{user}' is no user name.",
                "Use 1 to 32 small letters, digits, dots or dashes.",
                user=name,
            )
        if _role(role) is Role.CONSUMER and not point_id:
            raise _needs_point()
        return {
            "name": name,
            "password_hash": self._hasher.hash(password),
            "role": role,
            "point_id": point_id,
            "enabled": True,
            "created_at": int(self._now()),
            "last_login_at": None,
        }

    def _reload(self) -> None:
        self._users = self._database.read_now(
            lambda c: {r.name: r for r in c.execute(sa.select(user_account))}
        )

    # -- sessions -------------------------------------------------------------------------------

    async def log_in(self, name: str, password: str, address: str) -> tuple[str, Caller]:
        """Return the cookie's secret and the caller; raise AccessError 401 or 429."""
        self._throttle(name, address)
        user = self._users.get(name)
        stored = user.password_hash if user is not None else self._dummy
        async with self._hashing:
            right = await asyncio.to_thread(self._verify, stored, password)
        now = int(self._now())
        if user is None or not right or not user.enabled:
            for who in (_guesser(name), address):
                self._failures[who].append(now)
            await self._database.write(
                lambda c: audit.append(
                    c, now, "", "session.login", _guesser(name), "refused", {"from": address}
                )
            )
            raise AccessError(
                401,
                "Not logged in",
                "wrong-login",
                "The user name or the password is wrong.",
                "Try again.",
            )
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        session = _Session(name, csrf, now + SESSION_S)
        await self._database.write(lambda c: self._store_session(c, secret, session, now, address))
        self._reload()  # else the list of users would not know of the login
        self._sessions[_mark(secret)] = session
        self._failures.pop(_guesser(name), None)
        self._trim_sessions(name)
        return secret, Caller(name, Role(user.role), user.point_id, csrf)

    def _store_session(
        self, connection: Connection, secret: str, session: _Session, now: int, address: str
    ) -> None:
        row = {
            "token_hash": _mark(secret),
            "user_name": session.user,
            "csrf": session.csrf,
            "created_at": now,
            "expires_at": session.expires_at,
        }
        connection.execute(sa.insert(login_session), [row])
        connection.execute(
            sa.update(user_account)
            .where(user_account.c.name == session.user)
            .values(last_login_at=now)
        )
        detail = {"from": address}
        audit.append(connection, now, session.user, "session.login", session.user, "done", detail)

    def _trim_sessions(self, name: str) -> None:
        own = [(s.expires_at, mark) for mark, s in self._sessions.items() if s.user == name]
        for _, mark in sorted(own)[:-SESSIONS_PER_USER]:
            self._sessions.pop(mark, None)
            self._database.submit(partial(_delete_session, mark=mark))

    async def log_out(self, secret: str) -> None:
        mark = _mark(secret)
        self._sessions.pop(mark, None)
        await self._database.write(
            lambda c: (
                c.execute(
                    sa.delete(login_session).where(login_session.c.token_hash == mark)
                ).rowcount
            )
        )

    def session(self, secret: str) -> Caller | None:
        """The caller behind a cookie; None where it is unknown or too old."""
        found = self._sessions.get(_mark(secret))
        if found is None or found.expires_at <= self._now():
            return None
        return self._caller(found.user, found.csrf)

    def bearer(self, secret: str) -> Caller | None:
        """The caller behind a token."""
        found = self._tokens.get(_mark(secret))
        if found is None or (found[2] is not None and found[2] <= self._now()):
            return None
        return self._caller(found[1], None)

    def _caller(self, name: str, csrf: str | None) -> Caller | None:
        user = self._users.get(name)
        if user is None or not user.enabled:
            return None
        return Caller(name, Role(user.role), user.point_id, csrf)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password[:PASSWORD_MAX])
        except (VerificationError, InvalidHashError):
            return False

    def _throttle(self, name: str, address: str) -> None:
        horizon = self._now() - GUESS_WINDOW_S
        if len(self._failures) > GUESSERS_MAX:
            self._failures = defaultdict(
                deque, {k: v for k, v in self._failures.items() if v and v[-1] > horizon}
            )
        for who in (_guesser(name), address):
            moments = self._failures.get(who, deque())
            while moments and moments[0] < horizon:
                moments.popleft()
            if len(moments) >= GUESSES:
                raise AccessError(
                    429,
                    "Too many attempts",
                    "too-many-logins",
                    "Too many wrong passwords in the last hour.",
                    "Wait, or ask an administrator.",
                )

    # -- tokens ---------------------------------------------------------------------------------

    async def create_token(self, caller: Caller, title: str, days: int | None) -> dict[str, Any]:
        """A token for programs; its secret is shown once, here."""
        own = [t for t in self._tokens.values() if t[1] == caller.user]
        if len(own) >= TOKENS_PER_USER:
            raise AccessError(
                409,
                "Too many tokens",
                "too-many-tokens",
                "You have {count} tokens.",
                "Delete one first.",
                count=len(own),
            )
        now = int(self._now())
        secret, token_id = secrets.token_urlsafe(32), secrets.token_hex(8)
        expires = now + days * 86_400 if days is not None else None
        row = {
            "id": token_id,
            "token_hash": _mark(secret),
            "user_name": caller.user,
            "title": title,
            "created_at": now,
            "expires_at": expires,
        }

        def change(connection: Connection) -> None:
            connection.execute(sa.insert(api_token), [row])
            audit.append(connection, now, caller.user, "token.create", token_id, "done")

        await self._database.write(change)
        self._tokens[_mark(secret)] = (token_id, caller.user, expires)
        return {
            "id": token_id,
            "title": title,
            "token": secret,
            "expires_at": iso_utc(expires) if expires is not None else None,
        }

    async def tokens_of(self, caller: Caller) -> list[dict[str, Any]]:
        rows = await self._database.read(
            lambda c: list(
                c.execute(sa.select(api_token).where(api_token.c.user_name == caller.user))
            )
        )
        return [
            {
                "id": r.id,
                "title": r.title,
                "created_at": iso_utc(r.created_at),
                "expires_at": iso_utc(r.expires_at) if r.expires_at is not None else None,
            }
            for r in rows
        ]

    async def delete_token(self, caller: Caller, token_id: str) -> None:
        mark = next(
            (m for m, t in self._tokens.items() if t[0] == token_id and t[1] == caller.user), None
        )
        if mark is None:
            raise AccessError(
                404, "Not found", "no-token", "You have no such token.", "See the list."
            )
        now = int(self._now())

        def change(connection: Connection) -> None:
            connection.execute(sa.delete(api_token).where(api_token.c.id == token_id))
            audit.append(connection, now, caller.user, "token.delete", token_id, "done")

        await self._database.write(change)
        del self._tokens[mark]

    async def change_own_password(self, caller: Caller, old: str, new: str) -> None:
        user = self._users[caller.user]
        async with self._hashing:
            right = await asyncio.to_thread(self._verify, user.password_hash, old)
        if not right:
            raise AccessError(
                403, "Refused", "wrong-old-password", "The old password is wrong.", "Try again."
            )
        await self.edit(caller.user, caller.user, {"password": new})


def check_password(password: str) -> None:
    """Length only: long pass phrases are good, rules about signs are not (NIST SP 800-63B)."""
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise AccessError(
            422,
            "Weak password",
            "password-length",
            "A password has {least} to {most} characters.",
            "Take a longer one.",
            least=PASSWORD_MIN,
            most=PASSWORD_MAX,
        )


def _needs_point() -> AccessError:
    return AccessError(
        422, "Incomplete", "consumer-needs-point", "A consumer needs a point.", "Give `point`."
    )


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise AccessError(
            422,
            "Wrong role",
            "no-role",
            "There is no role '{role}'.",
            "Use one of {roles}.",
            role=text,
            roles=", ".join(r.value for r in Role),
        ) from None


def _guesser(name: str) -> str:
    """What failed log-ins are counted under: bounded, and never a password typed as a name."""
    return name if _NAME.fullmatch(name) else "(no user name)"


def _insert_user(connection: Connection, row: dict[str, Any]) -> None:
    connection.execute(sa.insert(user_account), [row])


def _delete_session(connection: Connection, mark: str) -> None:
    connection.execute(sa.delete(login_session).where(login_session.c.token_hash == mark))
