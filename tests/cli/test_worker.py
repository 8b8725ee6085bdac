"""``umbel worker``: how it starts, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import signal

import pytest

from commands import SHOP, Running, at_terminal, end_of, program, umbel
from umbel.cli.worker_options import CELERY_OPTIONS, LIFE_OPTIONS, WORK_OPTIONS, options_from

OPTIONS = [*WORK_OPTIONS, *LIFE_OPTIONS, *CELERY_OPTIONS]
WORKER = ["-A", "shop", "worker", "-c", "1"]
SOLO = [*WORKER, "-P", "solo"]
"""The same in one process: it starts in half the time."""


def worker(shop, *words, **env):
    """A worker of the shop, in the background."""
    return Running(*WORKER, *words, cwd=shop, **env)


def test_banner_tells_who_and_where(shop):
    """Application, broker, the file of the database, queues, concurrency and tasks; then ready."""
    with Running("-A", "shop", "worker", "-c", "2", "-Q", "mail,celery", cwd=shop) as running:
        text = running.expect("ready.")
        assert running.stop() == 0
    assert text.startswith("umbel ")
    for line in (
        "  app          shop",
        f"  database     {shop / 'umbel.db'}",
        "  results      in the same place",
        "  concurrency  2 processes",
        "  queues       mail, celery",
        "  tasks        shop.add",
    ):
        assert line in text
    assert "celery@" in text.splitlines()[-1]


def test_ready_means_that_every_child_takes_tasks(shop):
    """What is sent after the last line is run at once."""
    with worker(shop) as running:
        running.expect("ready.")
        ended = umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]", "--wait", "--timeout", "20")
        assert ended.out == "3\n"
        assert running.stop() == 0


def test_banner_masks_the_password_of_the_result_backend(shop):
    """It ends up in logs that many can read."""
    words = ["--result-backend", "memory://me:hunter2@here", "-P", "solo"]
    with worker(shop, *words) as running:
        text = running.expect("ready.")
    assert "hunter2" not in text
    assert "results      memory://me:**@here" in text


def test_quiet_worker_says_nothing(shop):
    """``-q``: no banner, and nothing on standard output ever."""
    ended = program(*SOLO, "-q", "--until-empty")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_data_stays_off_standard_output(shop):
    """A worker prints no data, so what it says goes to standard error."""
    ended = program(*SOLO, "--until-empty")
    assert ended.out == ""
    assert "ready." in ended.err


def test_until_empty_runs_what_waits_and_ends(shop):
    """For cron jobs and tests, also under the name ``--burst``; exit code 0."""
    ids = [umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]").out.strip() for _ in range(3)]
    assert program(*WORKER, "--burst").code == 0
    assert [umbel("-A", "shop", "result", each).out for each in ids] == ["3\n"] * 3


def test_log_level_is_warning_without_a_terminal(shop):
    """As in Celery: what every task does is logged when it is asked for."""
    umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]")
    umbel("-A", "shop", "call", "shop.boom")
    text = program(*SOLO, "--until-empty").err
    assert "INFO" not in text
    assert "ERROR" in text


def test_log_level_is_info_at_a_terminal(shop):
    """Whoever looks wants to see something; warnings and errors are coloured."""
    umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]")
    umbel("-A", "shop", "call", "shop.boom")
    with at_terminal(*WORKER) as child:
        child.expect("ready.")
        child.expect("shop.add.* succeeded")
        child.expect(r"\x1b\[31m\[.*ERROR")
        child.sendintr()
        assert end_of(child) == 0


def test_no_color_keeps_the_log_plain(shop):
    """``-C`` reaches the children's log lines."""
    umbel("-A", "shop", "call", "shop.boom")
    with at_terminal(*SOLO, "-C", "--until-empty") as child:
        text = child.read()
    assert "ERROR" in text
    assert "\x1b[" not in text


def test_json_log_is_json_from_the_first_line(shop):
    """The banner is a record like the others."""
    umbel("-A", "shop", "call", "shop.boom")
    ended = program(*WORKER, "--until-empty", "-l", "info", "--log-format", "json")
    records = [json.loads(line) for line in ended.err.splitlines()]
    assert records[0]["data"]["tasks"] == ["shop.add", "shop.boom", "shop.refuse", "shop.silent"]
    assert any(record["message"].endswith(" ready.") for record in records)
    assert any("out of paper" in str(record) for record in records)


def test_json_option_makes_the_log_json(shop):
    """``umbel --json worker`` mixes nothing either."""
    ended = program("--json", *SOLO, "--until-empty", "-l", "info")
    assert ended.out == ""
    assert all(json.loads(line) for line in ended.err.splitlines())


def test_log_file_takes_the_log_and_its_name_is_expanded(shop):
    """One file for each process where the name says so."""
    umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]")
    words = ["--until-empty", "-l", "info", "-n", "till@shop", "-f", "%n%I.log"]
    ended = program(*WORKER, *words)
    assert "succeeded" not in ended.err
    assert "till@shop ready." in (shop / "till.log").read_text()
    assert "succeeded" in (shop / "till-1.log").read_text()


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (None, "celery@{}"),
        ("quick@%h", "quick@{}"),
        ("quick@", "quick@{}"),
        ("elsewhere", "celery@elsewhere"),
        ("100%%@x", "100%@x"),
    ],
)
def test_the_name_is_expanded_and_completed(written, name):
    """``%h`` is the host; what is missing is filled in."""
    given = {option.name: () if option.multiple else None for option in OPTIONS}
    given |= {"settings": (), "hostname": written}
    host = os.uname().nodename
    assert options_from(given, app="shop").hostname == name.format(host)


def test_what_is_no_format_character_is_refused(shop):
    """Before anything is started."""
    ended = program(*SOLO, "-n", "quick@%q")
    assert ended.code == 2
    assert "%q" in ended.err


def test_options_of_celery_are_accepted(shop):
    """Start-up scripts go on working; why each does nothing is a note at level DEBUG."""
    flags = ["--task-events", "--disable-prefetch"]
    flags += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    values = ["--optimization", "--heartbeat-interval", "--pool-start-method", "--statedb"]
    values += ["--scheduler", "--schedule-filename", "--executable"]
    words = [*flags, *(f"{name}=2" for name in values)]
    ended = program(*SOLO, "--until-empty", "-l", "debug", *words)
    assert ended.code == 0, ended.err
    for name in flags + values:
        assert f"{name} has no effect: " in ended.err
    assert "WARNING" not in ended.err


def test_short_options_of_celery_are_accepted(shop):
    """The same as they are usually typed."""
    ended = program(*SOLO, "-E", "-Ofair", "-S", "state.db", "-s", "beat.db", "--until-empty")
    assert ended.code == 0, ended.err


def test_autoscale_gives_its_maximum_for_good(shop):
    """With a warning, because that is not the same."""
    ended = program("-A", "shop", "worker", "--autoscale", "2,1", "--until-empty")
    assert ended.code == 0
    assert "concurrency  2 processes" in ended.err
    assert "--autoscale gives 2 for good" in ended.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-D"], "systemd"),
        (["--detach", "--pidfile", "x"], "systemd"),
        (["--uid", "nobody"], "User="),
        (["--gid", "nobody"], "Group="),
        (["-B"], "no periodic tasks"),
        (["-P", "gevent"], "event loop"),
        (["-P", "eventlet"], "event loop"),
        (["-P", "carousel"], "'carousel' is not one of"),
        (["-c", "-1"], "less than 1"),
        (["-c", "many"], "neither a number nor auto"),
        (["-l", "loud"], "'loud' is not one of"),
        (["--time-limit", "0"], "x>0"),
        (["--max-tasks-per-child", "0"], "x>=1"),
        (["--umask", "9"], "octal"),
        (["--autoscale", "x"], "MAX,MIN"),
        (["-Q", ","], "no name"),
        (["--", "task_time_limits=3"], "task_time_limit"),
        (["--", "nonsense"], "name=value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_must_not_be_ignored_is_refused_with_the_reason(shop, words, reason):
    """Exit code 2 before anything is started."""
    ended = umbel("-A", "shop", "worker", *words)
    assert ended.code == 2
    assert reason in ended.err


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ("prefork", "1 process"),
        ("threads", "1 thread"),
        ("solo", "1 task at a time (solo)"),
    ],
)
def test_every_pool_runs_tasks(shop, pool, said):
    """``-P``; the banner names it."""
    task_id = umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]").out.strip()
    ended = program(*WORKER, "-P", pool, "--until-empty")
    assert ended.code == 0, ended.err
    assert f"concurrency  {said}" in ended.err
    assert umbel("-A", "shop", "result", task_id).out == "3\n"


def test_the_pool_of_the_settings_counts_without_the_option(shop):
    """One that runs one task at a time has no use for ``-c``."""
    (shop / "shop.py").write_text(
        SHOP.replace('Umbel("shop")', 'Umbel("shop", worker_pool="solo")')
    )
    task_id = umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]").out.strip()
    ended = program("-A", "shop", "worker", "-c", "3", "--until-empty")
    assert "concurrency  1 task at a time (solo)" in ended.err
    assert umbel("-A", "shop", "result", task_id).out == "3\n"


def test_settings_follow_two_dashes(shop):
    """They change the application's configuration for this worker."""
    (shop / "shop.py").write_text(
        SHOP + "\n@app.task\ndef limit():\n    return app.conf.task_time_limit\n"
    )
    task_id = umbel("-A", "shop", "call", "shop.limit").out.strip()
    assert program(*SOLO, "--until-empty", "--", "task_time_limit=30").code == 0
    assert umbel("-A", "shop", "result", task_id).out == "30.0\n"


def test_include_imports_more_modules(shop):
    """``-I``."""
    (shop / "more.py").write_text("from shop import app\n@app.task\ndef extra(): return 'more'\n")
    umbel("-A", "shop", "call", "more.extra", "--unchecked")
    ended = program(*SOLO, "--until-empty", "-I", "more")
    assert "more.extra" in ended.err
    assert umbel("-A", "shop", "dead", "list", "--json").data == []


def test_exclude_queues_leaves_the_others(shop):
    """``-X``."""
    (shop / "shop.py").write_text(
        SHOP.replace('Umbel("shop")', 'Umbel("shop", task_queues=["mail", "slow"])')
    )
    ended = program(*SOLO, "--until-empty", "-X", "slow")
    assert "  queues       mail\n" in ended.err


def test_purge_empties_the_queues_first(shop):
    """Without a question, as in Celery."""
    task_id = umbel("-A", "shop", "call", "shop.add", "-a", "[1, 2]").out.strip()
    assert program(*SOLO, "--until-empty", "--purge").code == 0
    assert umbel("-A", "shop", "result", task_id).code == 75


def test_umask_holds_for_the_files_that_tasks_make(shop):
    """``--umask`` in octal."""
    (shop / "shop.py").write_text(
        SHOP + "\n@app.task\ndef touch():\n    open('made', 'w').close()\n"
    )
    umbel("-A", "shop", "call", "shop.touch")
    program(*SOLO, "--until-empty", "--umask", "077")
    assert (shop / "made").stat().st_mode & 0o777 == 0o600


# -- stopping ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "number"),
    [
        ("prefork", signal.SIGTERM),
        ("processes", signal.SIGINT),
        ("threads", signal.SIGTERM),
        ("solo", signal.SIGINT),
    ],
)
def test_an_idle_worker_stops_with_code_0(shop, pool, number):
    """On TERM, and on INT."""
    with worker(shop, "-P", pool) as running:
        running.expect("ready.")
        assert running.stop(number) == 0


def test_ctrl_c_waits_for_what_runs_and_twice_gives_it_back(shop):
    """Exit code 1 says that work was cut short; the message is ready again."""
    (shop / "shop.py").write_text(
        SHOP + "\n@app.task\ndef nap():\n"
        "    import time\n    print('asleep', flush=True)\n    time.sleep(60)\n"
    )
    umbel("-A", "shop", "call", "shop.nap")
    with at_terminal(*WORKER) as child:
        child.expect("asleep")
        child.sendintr()
        child.expect("finishing 1 running task")
        child.sendintr()
        assert end_of(child) == 1
    queues = umbel("-A", "shop", "status", "--json").data["queues"]
    assert [(each["ready"], each["claimed"]) for each in queues] == [(1, 0)]


# -- the file for the process id -----------------------------------------------------------


def test_pidfile_holds_the_id_while_the_worker_runs(shop):
    """And is gone afterwards; its name is expanded."""
    with worker(shop, "--pidfile", "%n.pid", "-n", "till@shop") as running:
        running.expect("ready.")
        assert int((shop / "till.pid").read_text()) == running.process.pid
        running.stop()
    assert not (shop / "till.pid").exists()


def test_pidfile_of_a_running_process_refuses_a_second_worker(shop):
    """Exit code 73; the file stays with its owner."""
    file = shop / "worker.pid"
    file.write_text(f"{os.getpid()}\n")
    ended = program(*SOLO, "--pidfile", "worker.pid")
    assert ended.code == 73
    assert f"process {os.getpid()} in the pidfile {file} still runs" in ended.err
    assert file.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("left", ["999999999\n", "what\n"])
def test_pidfile_that_was_left_behind_is_taken_over(shop, left):
    """A killed worker could not tidy up."""
    (shop / "worker.pid").write_text(left)
    assert program(*SOLO, "--pidfile", "worker.pid", "--until-empty").code == 0
    assert not (shop / "worker.pid").exists()


def test_pidfile_that_cannot_be_made_is_exit_code_73(shop):
    """With the reason."""
    ended = program(*SOLO, "--pidfile", "no/such/directory/worker.pid")
    assert ended.code == 73
    assert "No such file or directory" in ended.err
