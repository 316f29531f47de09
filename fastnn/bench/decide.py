"""From paired log-ratios to verdicts: median, BCa interval, false-discovery control over all tests."""

import warnings

import numpy as np

LEVEL = 0.95
FALSE_DISCOVERIES = 0.05  # expected share of false alarms among the alarms
RESAMPLES = 2000
LEAST_ROUNDS = 6  # fewer do not give a 95 % interval of a median: the range of 5 values holds it with 94 %


def interval(logs) -> tuple[float, float, float]:
    """(ratio, low, high): exp of the median of `logs` and of its BCa 95 % interval (Efron 1987, by scipy)."""
    from scipy.stats import bootstrap

    logs = np.asarray(logs, float)
    middle = float(np.exp(np.median(logs)))
    if len(logs) < 2 or np.ptp(logs) == 0:
        return (middle, middle, middle) if len(logs) > 1 else (middle, 0.0, np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate: BCa is then nan, and the percentile interval stands in
        for method in ("BCa", "percentile"):
            found = bootstrap(
                (logs,), np.median, confidence_level=LEVEL, n_resamples=RESAMPLES, method=method, rng=0
            ).confidence_interval
            if np.isfinite([found.low, found.high]).all():
                break
    return middle, float(np.exp(found.low)), float(np.exp(found.high))


def judge(tests: dict[str, dict], precision: float = np.inf) -> None:
    """Adds ratio, low, high, p, verdict and done to each of `tests`, {name: {"logs": [...], "limit": 1.05, ...}}.

    regression: the interval is wholly above the limit, and stays an alarm under Benjamini-Hochberg over all tests;
    fine: wholly below; else undecided. `done`: no more rounds needed (fine also needs a half-width of `precision`).
    """
    from scipy.stats import false_discovery_control, wilcoxon

    for test in tests.values():
        test["ratio"], test["low"], test["high"] = interval(test["logs"])
        test["p"] = 1.0
        if len(test["logs"]) >= LEAST_ROUNDS:
            above = np.asarray(test["logs"]) - np.log(test["limit"])
            test["p"] = float(wilcoxon(above, alternative="greater", zero_method="zsplit").pvalue)
    if not tests:
        return
    adjusted = false_discovery_control([test["p"] for test in tests.values()])
    for test, p in zip(tests.values(), adjusted, strict=True):
        enough = len(test["logs"]) >= LEAST_ROUNDS
        test["verdict"] = "undecided"
        if enough and test["low"] > test["limit"] and p <= FALSE_DISCOVERIES:
            test["verdict"] = "regression"
        elif enough and test["high"] < test["limit"]:
            test["verdict"] = "fine"
        narrow = (test["high"] - test["low"]) / 2 <= precision * min(test["ratio"], 1)
        test["done"] = test["verdict"] == "regression" or (test["verdict"] == "fine" and narrow)
