"""`python -m benchmarks`: its arithmetic, its files, and one short run of it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.db import connection

from benchmarks import load
from benchmarks.__main__ import PARTS, make_parser
from benchmarks.parts.dispatch import jobs_per_second
from benchmarks.plot import to_svg
from benchmarks.processes import DatabaseTime, session_seconds
from benchmarks.queues import Drained
from benchmarks.results import Listing, Row, Sample, Spread, Table, in_turns

ROOT = Path(__file__).resolve().parent.parent
OUTCOME = load.Outcome(requests=300, seconds=2.0, p50=1.5, p99=9.0, failed=0, is_exhausted=False)


def table(title: str = "gunicorn") -> Table:
    floor = Row(name="floor", samples=[Sample(rate=100, p50=2.0), Sample(rate=400, p50=4.0), Sample(rate=200, p50=3.0)])
    ours = Row(name="ours", floor="floor", samples=[Sample(rate=80), Sample(rate=200), Sample(rate=150)])
    return Table(title=title, unit="requests", rows=[floor, ours])


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314


class TestResults:
    def test_a_ratio_is_taken_in_each_round_and_then_its_median(self) -> None:
        assert table().ratio(table().rows[1]) == Spread(median=0.75, min=0.5, max=0.8)

    def test_a_floor_has_no_ratio(self) -> None:
        assert table().ratio(table().rows[0]) is None

    def test_rounds_of_different_number_are_an_error(self) -> None:
        whole = table()
        with pytest.raises(ValueError, match="longer"):
            whole.ratio(replace(whole.rows[1], samples=whole.rows[1].samples[:2]))

    def test_markdown_has_medians_and_leaves_out_what_nobody_measured(self) -> None:
        lines = table().to_markdown().splitlines()
        assert lines[2] == "| | requests/s | min to max | of its floor | min to max of it | p50 (ms) |"
        assert lines[4] == "| floor | 200 | 100 to 400 | – | – | 3.0 |"  # noqa: RUF001
        assert lines[5] == "| ours | 150 | 80 to 200 | 0.75 | 0.50 to 0.80 | – |"  # noqa: RUF001

    def test_json_gives_the_same_table_back(self) -> None:
        found = json.loads(json.dumps(table().to_dict()))
        assert Table.from_dict(found) == table()
        assert found["rows"][1]["ratio"] == {"median": 0.75, "min": 0.5, "max": 0.8}

    def test_a_listing_has_a_line_for_each_thing(self) -> None:
        listing = Listing(title="Bytes", head=["", "10 rows"], lines=[["heap", "1,024"]], notes=["Of each row."])
        assert listing.to_markdown().splitlines() == [
            *["### Bytes", "", "|  | 10 rows |", "| --- | ---: |", "| heap | 1,024 |", "", "Of each row."]
        ]
        assert Listing(**json.loads(json.dumps(listing.to_dict()))) == listing

    def test_rows_take_turns_in_alternating_order(self) -> None:
        order = [(number, row.name) for number, row in in_turns(table().rows, 3)]
        assert order == [(0, "floor"), (0, "ours"), (1, "ours"), (1, "floor"), (2, "floor"), (2, "ours")]


class TestPicture:
    def test_it_is_well_formed_whatever_the_titles_hold(self) -> None:
        svg = parse(to_svg([table("<script>&\"'"), table()]))
        texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
        assert texts.count("150 (0.75 of its floor)") == 2
        assert "<script>&\"', requests/s" in texts

    def test_bars_are_as_long_as_their_medians(self) -> None:
        svg = parse(to_svg([table()]))
        bars = [float(bar.attrib["width"]) for bar in svg.findall("{http://www.w3.org/2000/svg}rect")[1:]]
        assert bars[1] / bars[0] == pytest.approx(150 / 200)

    def test_no_table_is_a_picture_too(self) -> None:
        parse(to_svg([]))


class TestLoad:
    def test_the_last_line_of_json_is_the_outcome(self) -> None:
        line = json.dumps(OUTCOME.__dict__)
        outcome = load.parse_outcome(f"Running 2s test @ http://127.0.0.1:8000/\n{line}\n")
        assert outcome == OUTCOME
        assert outcome.rate == 150

    def test_an_output_without_a_result_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="unable to connect"):
            load.parse_outcome("unable to connect to 127.0.0.1:8000")

    def test_wrk_prints_the_fields_of_an_outcome(self) -> None:
        script = load.SCRIPT.read_text()
        assert all(f'"{name}": ' in script for name in OUTCOME.__dict__)

    def test_requests_are_read_as_they_were_written(self, tmp_path: Path) -> None:
        requests = [load.http_request("/nateq/", body, "ab") for body in (b"{}", b"\n1\n", b"")]
        load.write_requests(tmp_path / "requests", iter(requests))
        assert list(load.read_requests(tmp_path / "requests")) == requests

    @pytest.mark.parametrize(
        ("answer", "is_complete"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        ],
    )
    def test_an_answer_is_complete_by_its_length_or_its_last_chunk(self, answer: bytes, is_complete: bool) -> None:
        assert load.is_complete(answer) is is_complete

    def test_percentiles(self) -> None:
        ordered = [float(number) for number in range(1, 101)]
        assert (load.percentile(ordered, 0.5), load.percentile(ordered, 0.99)) == (51, 100)
        assert load.percentile([], 0.5) == 0


class TestProcessorTime:
    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
    def test_a_session_counts_the_children_that_have_ended(self) -> None:
        work = "import time\nwhile time.process_time() < 0.3: pass"
        code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {work!r}])\nprint(flush=True)\ninput()"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, start_new_session=True) as process:
            assert process.stdout
            process.stdout.readline()
            seconds = session_seconds(process.pid)
            process.communicate(b"\n")
        assert seconds is not None
        assert seconds >= 0.25
        assert session_seconds(process.pid) is None

    def test_time_of_the_database_is_that_of_its_backends(self) -> None:
        before, after = DatabaseTime({1: 1.0, 2: 5.0}, 10.0), DatabaseTime({1: 1.5, 3: 0.25}, 15.5)
        assert after.since(before, with_reaped=False) == 0.75
        assert after.since(before, with_reaped=True) == 1.25


class TestRateOfWorkers:
    def test_it_is_from_the_first_start_to_the_last_end(self) -> None:
        drained = [Drained(done=60, began=10.0, ended=12.0), Drained(done=40, began=10.5, ended=14.0)]
        assert jobs_per_second(drained, 100) == 25

    def test_jobs_that_were_lost_end_the_measurement(self) -> None:
        with pytest.raises(SystemExit, match="60 of 100"):
            jobs_per_second([Drained(done=60, began=10.0, ended=12.0)], 100)


class TestCommandLine:
    def test_every_part_is_a_module_that_measures(self) -> None:
        assert {path.stem for path in (ROOT / "benchmarks/parts").glob("[a-z]*.py")} == {*PARTS, "filling"}

    def test_lists_are_separated_by_commas(self) -> None:
        options = make_parser().parse_args(["receive", "--connections", "16,64", "--servers", "uvicorn"])
        assert (options.parts, options.connections, options.servers) == (["receive"], [16, 64], ["uvicorn"])

    def test_no_stored_delivery_is_a_number_of_rows(self) -> None:
        assert make_parser().parse_args(["growth", "--rows", "0,1000"]).rows == [0, 1000]

    @pytest.mark.parametrize(
        "arguments", [["--servers", "apache"], ["--connections", "0"], ["--rounds", "0"], ["--rows", "0,-1"]]
    )
    def test_what_can_not_be_measured_is_refused(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            make_parser().parse_args(arguments)
        assert arguments[0] in capsys.readouterr().err

    def test_the_readme_names_every_part_and_option(self) -> None:
        text = (ROOT / "benchmarks/README.md").read_text()
        options = [action.option_strings[-1] for action in make_parser()._actions if action.option_strings]
        assert [name for name in (*PARTS, *options) if f"`{name}" not in text and f" {name}" not in text] == ["--help"]


@pytest.mark.slow
@pytest.mark.skipif(connection.vendor == "mysql", reason="there are no floors for MySQL")
class TestShortRun:
    """One run of about ten turns, on a database of its own."""

    @pytest.fixture
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DJANGO_SETTINGS_MODULE": "benchmarks.settings", "PATH": "/nonexistent"}  # no wrk

    def test_it_prints_tables_and_writes_the_files(self, environment: dict[str, str], tmp_path: Path) -> None:
        pytest.importorskip("gunicorn")
        pytest.importorskip("uvicorn")
        files = [f"--json={tmp_path / 'results.json'}", f"--svg={tmp_path / 'results.svg'}"]
        short = ["--rounds=1", "--seconds=0.5", "--servers=gunicorn,uvicorn-threads", "--deliveries=5", "--no-peers"]
        command = [sys.executable, "-m", "benchmarks", "receive", "dispatch", *short, *files]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        receive, threads, beside, dispatch = [Table.from_dict(each) for each in self._tables(tmp_path / "results.json")]
        assert [row.name for row in receive.rows if row.floor and "prepared" not in row.name] == [
            *("nothing to run", "nothing to run, as advised", "left to a worker, as advised"),
            *("run inline", "run inline, as advised"),
        ]
        assert {row.name for row in threads.rows} == {row.name for row in receive.rows if "floor" not in row.name}
        assert [row.name for row in beside.rows if row.name.startswith("run inline,")][:2] == [
            *("run inline, gunicorn", "run inline, uvicorn-threads"),
        ]
        assert all(beside.ratio(row) for row in beside.rows if row.name.endswith("uvicorn-threads"))
        assert [row.name for row in dispatch.rows if row.floor] == [
            f"nateq_webhooks, {many}" for many in ("1 process", "2 processes", "4 threads")
        ]
        assert receive.to_markdown() in done.stdout
        assert dispatch.to_markdown() in done.stdout
        assert "round 1 of 1" in done.stderr
        parse((tmp_path / "results.svg").read_text())

    @pytest.mark.long
    @pytest.mark.skipif(connection.vendor != "postgresql", reason="needs schemas, and counts WAL")
    def test_growth_measures_each_number_of_rows_in_turns(self, environment: dict[str, str], tmp_path: Path) -> None:
        short = ["--rows=0,40", "--rounds=1", "--requests=5", f"--json={tmp_path / 'results.json'}"]
        command = [sys.executable, "-m", "benchmarks", "growth", *short]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        *rates, wal, sizes, columns = self._tables(tmp_path / "results.json")
        for found in rates:
            rows = Table.from_dict(found).rows
            assert [(row.name, row.floor) for row in rows] == [
                ("0 deliveries", ""),
                ("40 deliveries", "0 deliveries"),
            ]
            assert all(len(row.samples) == 1 for row in rows)
        lines = [Listing(**each).lines for each in (wal, sizes, columns)]  # type: ignore[arg-type]
        assert [line[0] for line in lines[0]] == [
            f"{rows} deliveries, {kind}" for rows in (0, 40) for kind in ("nothing to run", "run inline")
        ]
        assert all(int(line[1].replace(",", "")) > 1_000 for line in lines[0])  # the body is in it
        sizes_by_name = {line[0]: int(line[1].replace(",", "")) for line in lines[1]}
        assert sizes_by_name["table nateq_webhooks_delivery"] > 1_000
        assert sizes_by_name["nateq_delivery_identity"] > 0
        assert {line[0] for line in lines[2]} > {"nateq_webhooks_delivery.body", "nateq_webhooks_run.status"}

    @pytest.mark.skipif(connection.vendor != "postgresql", reason="its floors are PostgreSQL's")
    def test_the_code_takes_no_multiple_of_its_floor(self, environment: dict[str, str], tmp_path: Path) -> None:
        """Of the processor time: a busy machine makes both longer. About 1.2 and 1.9 were measured."""
        short = ["--rounds=5", "--requests=100", f"--json={tmp_path / 'results.json'}"]
        command = [sys.executable, "-m", "benchmarks", "handler", *short]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        (found,) = self._tables(tmp_path / "results.json")
        seconds = {row.name: row.median_of("server_cpu") or 0 for row in Table.from_dict(found).rows}
        assert 0 < seconds["nateq_webhooks"] < 2.0 * seconds["bare row"]
        assert 0 < seconds["inline"] < 3.0 * seconds["bare inline"]

    @pytest.mark.long
    @pytest.mark.django_db
    def test_an_interrupt_ends_the_servers_and_drops_the_database(self, environment: dict[str, str]) -> None:
        pytest.importorskip("gunicorn")
        command = [sys.executable, "-m", "benchmarks", "receive", "--servers=gunicorn", "--seconds=0.5"]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            # A shell has its background jobs ignore it, and they pass that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            assert process.stderr
            timer = threading.Timer(600, process.kill)
            timer.start()
            next(line for line in process.stderr if "round 1" in line)
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            timer.cancel()
        assert process.returncode == 1, rest
        assert "Interrupted" in rest
        assert list(self._left_over(process.pid)) == []

    @staticmethod
    def _tables(file: Path) -> list[dict[str, object]]:
        found = json.loads(file.read_text())["tables"]
        assert isinstance(found, list)
        return found

    @staticmethod
    def _left_over(pid: int) -> Iterator[str]:
        """Yield the processes and the database that a run left."""
        name = f"nateq_webhooks_bench_{pid}" if connection.vendor == "postgresql" else f"nateq_webhooks_{pid}.sqlite3"
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if name.encode() in entry.read_bytes():
                    yield str(entry)
        if connection.vendor == "postgresql":
            with connection._nodb_cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database WHERE datname = %s", [name])
                yield from (found for (found,) in cursor.fetchall())
        yield from (str(file) for file in Path(tempfile.gettempdir()).glob(f"{name}*"))
