"""One run of one engine, as the results keep it."""

from dataclasses import asdict, dataclass

from .job import Answer


@dataclass(frozen=True)
class Run:
    workload: str
    mode: str
    engine: str
    failure: str | None = None
    repetition: int = 0
    seconds: float | None = None
    process_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    answer: Answer | None = None

    def to_dict(self) -> dict:
        return asdict(self)

    @property
    def cell(self) -> tuple[str, str, str]:
        return (self.workload, self.mode, self.engine)
