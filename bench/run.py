# SPDX-License-Identifier: MIT
"""Measure Bridgehead beside Debian's Postfix on this machine and print medians, ranges, ratios and targets.

python bench/run.py                        all jobs, three rounds (the deep one once)
python bench/run.py --jobs relay-sM-4k --rounds 5
python bench/run.py --profile              where the time goes in ours
"""

import argparse
import json
import platform
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jobs
import report
from servers import POSTFIX_PROGRAMS, SERVERS, Profiled

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", default=",".join(jobs.JOBS), help="comma list of " + ", ".join(jobs.JOBS))
    parser.add_argument("--servers", default="postfix,bridgehead", help="comma list, default: both")
    parser.add_argument("--rounds", type=int, default=3, help="the servers take turns within a round")
    parser.add_argument("--deep-rounds", type=int, default=1, help="rounds of deep-4k, which takes minutes")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every number of messages")
    parser.add_argument("--folder", type=Path, help="where queues go; a real disk, not tmpfs")
    parser.add_argument("--keep", action="store_true", help="keep the servers' folders")
    parser.add_argument("--profile", action="store_true", help="profile ours in the first job instead")
    parser.add_argument("--syncs", action="store_true", help="count calls that sync files, by strace, instead")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless every target measured is met")
    return parser.parse_args()


def file_system(folder: Path) -> str:
    """The kind of file system under a folder."""
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def profile(job: str, scale: float, base: Path | None) -> None:
    """Run one job with ours under cProfile and print what takes its time."""
    job_kind = jobs.JOBS[job]
    with jobs.stage(Profiled, base, sink_listens=job_kind.kind in jobs.LISTENING, keep=False, job=job_kind) as (
        server,
        sink,
    ):
        figures = jobs.KINDS[job_kind.kind](server, sink, job_kind, int(job_kind.messages * scale))
        server.stop()
        print(json.dumps(figures))
        pstats.Stats(str(server.folder / "profile")).sort_stats("tottime").print_stats(45)


def main() -> int:
    options = arguments()
    names = options.jobs.split(",")
    servers = options.servers.split(",")
    unknown = [name for name in names if name not in jobs.JOBS] + [name for name in servers if name not in SERVERS]
    if unknown:
        print(f"unknown: {', '.join(unknown)}", file=sys.stderr)
        return 2
    if "postfix" in servers and not (POSTFIX_PROGRAMS / "master").exists():
        print("Postfix is not installed: apt-get install postfix", file=sys.stderr)
        return 2
    if file_system(options.folder or Path(tempfile.gettempdir())) in ("tmpfs", "ramfs"):
        print("warning: the queues would lie in memory, where a sync costs nothing; give --folder", file=sys.stderr)
    if options.profile:
        profile(names[0], options.scale, options.folder)
        return 0
    if options.syncs:
        for name in names:
            if jobs.JOBS[name].kind in ("relay", "accept"):
                for server in servers:
                    print(json.dumps(jobs.syncs(SERVERS[server], name, options.scale, options.folder)))
        return 0
    rows: report.Rows = []
    (HERE / "results").mkdir(exist_ok=True)
    out = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    for name in names:
        for number in range(options.deep_rounds if name.startswith("deep") else options.rounds):
            # who goes first changes with the round
            for server in servers if number % 2 == 0 else reversed(servers):
                row = jobs.run(SERVERS[server], name, options.scale, options.folder, keep=options.keep)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    for name in names:
        print(report.table(rows, name, jobs.JOBS[name].kind))
    text, met = report.targets(rows)
    print(text)
    print(f"Python {platform.python_version()}: {sys.executable}")
    print(f"Results: {out}")
    return 0 if met or not options.check else 1


if __name__ == "__main__":
    sys.exit(main())
