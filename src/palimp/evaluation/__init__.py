"""Measuring recall on public data, through the public client and with the shipped weights."""

from __future__ import annotations

from .locomo import Question, Report, Sample, evaluate, ingest_sample, load_samples

__all__ = ["Question", "Report", "Sample", "evaluate", "ingest_sample", "load_samples"]
