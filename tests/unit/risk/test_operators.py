"""Operators: scrypt verifiers, one answer for every failure, and no more guesses than allowed."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.errors import ControlError
from quant_dagster.observability import audit
from quant_dagster.risk import operators
from quant_dagster.risk.operators import Operator, add, authenticate, registered, revoke
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import operators as table
from tests.unit.risk.kill_switch.desks import PASSPHRASE, START, Moment, audited, new_ledger

OTHER = "another long passphrase"
WRONG = "'{}' is no operator, or the passphrase is wrong"


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def books(tmp_path: Path, moment: Moment):
    ledger = new_ledger(tmp_path, moment)
    yield ledger
    ledger.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(operators._SCRYPT, "n", 4)


def everybody(ledger: Ledger) -> list[Operator]:
    with ledger.read() as connection:
        return registered(connection)


def test_scrypt_is_the_one_of_the_rfc() -> None:
    """The vector of RFC 7914, section 12, with n = 16384, r = 8, p = 1: its first 32 bytes."""
    key = hashlib.scrypt(b"pleaseletmein", salt=b"SodiumChloride", n=16384, r=8, p=1, dklen=32).hex()
    assert key == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    assert operators._verifier("pleaseletmein", b"SodiumChloride") == key


def test_the_first_operator_comes_in_freely(ledger: Ledger) -> None:
    add(ledger, " ada ", PASSPHRASE)
    (ada,) = everybody(ledger)
    assert (ada.name, ada.added_by, ada.revoked_at) == ("ada", "ada", None)
    with ledger.read() as connection:
        row = connection.execute(select(table)).one()
    salt = bytes.fromhex(row.salt)
    assert len(salt) == 16
    assert row.verifier == hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=16384, r=8, p=1, dklen=32).hex()
    authenticate(ledger, " ada ", PASSPHRASE)
    assert audited(ledger) == [("operator_added:ada", "operator_added", "ada")]
    assert audit.verify(ledger).intact


def test_salts_differ(books: Ledger, quick: None) -> None:
    add(books, "ada", PASSPHRASE)
    add(books, "bo", PASSPHRASE, by="ada", by_passphrase=PASSPHRASE)
    with books.read() as connection:
        salts = set(connection.execute(select(table.c.salt)).scalars())
    assert len(salts) == 2


def test_further_operators_need_one_who_vouches(books: Ledger, quick: None) -> None:
    add(books, "ada", PASSPHRASE)
    with pytest.raises(ControlError, match=r"^operator 'bo' can only be added by one of: ada$"):
        add(books, "bo", OTHER)
    for by, passphrase in (("ada", OTHER), ("ada", None), ("cy", PASSPHRASE)):
        with pytest.raises(ControlError, match=WRONG.format(by)):
            add(books, "bo", OTHER, by=by, by_passphrase=passphrase)
    add(books, "bo", OTHER, by="ada", by_passphrase=PASSPHRASE)
    assert [(one.name, one.added_by, one.added_at) for one in everybody(books)] == [
        ("ada", "ada", START), ("bo", "ada", START)]  # fmt: skip
    assert audited(books)[-1] == ("operator_added:bo", "operator_added", "ada")
    with pytest.raises(ControlError, match=r"one of: ada, bo$"):
        add(books, "cy", OTHER)


def test_nobody_vouches_where_there_is_nobody(books: Ledger, quick: None) -> None:
    with pytest.raises(ControlError, match=WRONG.format("cy")):
        add(books, "ada", PASSPHRASE, by="cy", by_passphrase=PASSPHRASE)
    assert everybody(books) == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 65])
def test_a_name_has_1_to_64_characters(books: Ledger, quick: None, name: str) -> None:
    with pytest.raises(ControlError, match=r"^an operator needs a name of 1 to 64 characters$"):
        add(books, name, PASSPHRASE)
    add(books, "x" * 64, PASSPHRASE)
    authenticate(books, "x" * 64, PASSPHRASE)


def test_a_passphrase_has_12_characters(books: Ledger, quick: None) -> None:
    with pytest.raises(ControlError, match=r"^the passphrase is too short: 12 characters or more$"):
        add(books, "ada", "x" * 11)
    add(books, "ada", "x" * 12)


def test_any_characters_may_be_in_a_passphrase(books: Ledger, quick: None) -> None:
    odd = "日本語 \udcff\ud800 passphrase"
    add(books, "ada", odd)
    authenticate(books, "ada", odd)


def test_every_failure_says_the_same_and_costs_the_same(books: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    add(books, "ada", PASSPHRASE)
    add(books, "bo", OTHER, by="ada", by_passphrase=PASSPHRASE)
    revoke(books, "bo", by="ada", passphrase=PASSPHRASE)
    work = []
    scrypt = hashlib.scrypt

    def counted(password: bytes, **costs: object) -> bytes:
        work.append({name: len(value) if isinstance(value, bytes) else value for name, value in costs.items()})
        return scrypt(password, **costs)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    for name, passphrase in (("ada", "wrong"), ("nobody", PASSPHRASE), ("bo", OTHER)):
        with pytest.raises(ControlError) as failure:
            authenticate(books, name, passphrase)
        assert str(failure.value) == WRONG.format(name)
    assert work == [{"salt": 16, "n": 16384, "r": 8, "p": 1, "dklen": 32}] * 3


def test_five_failures_lock_a_name_and_time_opens_it(books: Ledger, moment: Moment, quick: None) -> None:
    add(books, "ada", PASSPHRASE)
    add(books, "bo", OTHER, by="ada", by_passphrase=PASSPHRASE)
    for number in range(5):
        with pytest.raises(ControlError, match="is wrong"):
            authenticate(books, "ada", f"guess {number}")
        moment.move(60)
    locked = "^too many failed attempts as 'ada': 5 within 15 minutes; try again later$"
    for passphrase in ("guess", PASSPHRASE):
        with pytest.raises(ControlError, match=locked):
            authenticate(books, "ada", passphrase)
    authenticate(books, "bo", OTHER)  # others are not locked
    refused = [(f"operator_refused:ada:{number}", "operator_refused", "ada") for number in (1, 2, 3, 4, 5)]
    assert audited(books)[2:] == refused  # a locked try is not another failure
    moment.now = START + timedelta(minutes=15) - timedelta(microseconds=1)
    with pytest.raises(ControlError, match=locked):
        authenticate(books, "ada", PASSPHRASE)
    moment.now = START + timedelta(minutes=15)  # the first failure is no longer younger than the window
    authenticate(books, "ada", PASSPHRASE)
    with pytest.raises(ControlError, match="is wrong"):
        authenticate(books, "ada", "guess")
    with pytest.raises(ControlError, match=locked):
        authenticate(books, "ada", PASSPHRASE)
    assert audited(books)[-1][0] == "operator_refused:ada:6"


def test_failures_survive_a_restart_and_count_for_unknown_names(books: Ledger, moment: Moment, quick: None) -> None:
    for _ in range(5):
        with pytest.raises(ControlError, match="is wrong"):
            authenticate(books, "x" * 70, "guess")
    again = Ledger(books.url.render_as_string(), moment)
    with pytest.raises(ControlError, match=f"too many failed attempts as '{'x' * 64}'"):
        authenticate(again, "x" * 64, "guess")
    again.close()


def test_a_right_guess_does_not_count_once_the_name_was_locked_meanwhile(
    books: Ledger, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guesses at once: all look before any is counted."""
    add(books, "ada", PASSPHRASE)
    right = operators._is_right

    def five_others_fail(row: object, passphrase: str) -> bool:
        monkeypatch.setattr(operators, "_is_right", right)
        for _ in range(5):
            with pytest.raises(ControlError):
                authenticate(books, "ada", "guess")
        return right(row, passphrase)

    monkeypatch.setattr(operators, "_is_right", five_others_fail)
    with pytest.raises(ControlError, match="too many"):
        authenticate(books, "ada", PASSPHRASE)


def test_an_operator_who_was_revoked_is_none(books: Ledger, moment: Moment, quick: None) -> None:
    add(books, "ada", PASSPHRASE)
    add(books, "bo", OTHER, by="ada", by_passphrase=PASSPHRASE)
    with pytest.raises(ControlError, match=WRONG.format("bo")):
        revoke(books, "ada", by="bo", passphrase=PASSPHRASE)
    with pytest.raises(ControlError, match=r"^'cy' is no operator; they are: ada, bo$"):
        revoke(books, "cy", by="ada", passphrase=PASSPHRASE)
    moment.move(5)
    revoke(books, "ada", by="bo", passphrase=OTHER)
    assert [(one.name, one.revoked_at) for one in everybody(books)] == [
        ("ada", START + timedelta(seconds=5)), ("bo", None)]  # fmt: skip
    assert audited(books)[-1] == ("operator_revoked:ada", "operator_revoked", "bo")
    with pytest.raises(ControlError, match=r"one of: bo$"):
        add(books, "cy", PASSPHRASE)
    with pytest.raises(ControlError, match=r"'ada' is no operator; they are: bo$"):
        revoke(books, "ada", by="bo", passphrase=OTHER)
    with pytest.raises(ControlError, match=r"^'bo' is the last operator: add another one first$"):
        revoke(books, "bo", by="bo", passphrase=OTHER)


def test_a_name_is_never_given_again(books: Ledger, quick: None) -> None:
    add(books, "ada", PASSPHRASE)
    add(books, "bo", OTHER, by="ada", by_passphrase=PASSPHRASE)
    revoke(books, "ada", by="bo", passphrase=OTHER)
    with pytest.raises(
        ControlError, match=r"^there was an operator 'ada' before: a name is never given again, take another$"
    ):
        add(books, "ada", PASSPHRASE, by="bo", by_passphrase=OTHER)
