"""Options of ECharts. Every colour is a CSS variable, so that a switch of theme needs no server."""

from typing import Any, Final

from libs.common.domain.statistics import drawdown, peak_with
from services.ui.parts.figures import usd
from services.ui.queries.curve import Curve, Point

FONT: Final = "Inter SB"
SPAN_DOLLARS_MIN: Final = 10
"""The value axis never shows less than this, so that cents do not look like cliffs."""
FALL_PERCENT_MIN: Final = 0.5
_AXIS: Final[dict[str, Any]] = {
    "axisLine": {"show": False},
    "axisTick": {"show": False},
    "axisLabel": {"color": "var(--ink-3)", "fontSize": 11, "fontFamily": FONT, "hideOverlap": True},
    "splitLine": {"lineStyle": {"color": "var(--grid-line)", "width": 1}},
}
_TIME: Final = {
    "year": "{yyyy}",
    "month": "{d} {MMM}",
    "day": "{d} {MMM}",
    "hour": "{HH}:{mm}",
    "minute": "{HH}:{mm}",
    "second": "{HH}:{mm}:{ss}",
}


def _label(**more: Any) -> dict[str, Any]:
    return {**_AXIS["axisLabel"], **more}


def _time_axis(curve: Curve, **more: Any) -> dict[str, Any]:
    return {
        "type": "time",
        "splitNumber": 5,
        **_AXIS,
        "min": _ms(curve.points[0]),
        "max": int(curve.until.timestamp() * 1000),
        "splitLine": {"show": False},
        "axisLabel": _label(formatter=_TIME, showMinLabel=False, showMaxLabel=False),
        "axisPointer": {"label": {"show": False}},
        **more,
    }


def _value_axis(unit: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "value",
        "position": "right",
        "scale": True,
        "splitNumber": 4,
        **_AXIS,
        "axisPointer": {"show": False},
        **more,
        "axisLabel": _label(**{":formatter": f"v=>sb.{unit}(v)", "margin": 10}, **more.get("axisLabel", {})),
    }


def _line(name: str, colour: str, data: list[list[float]], width: float, **more: Any) -> dict[str, Any]:
    return {
        "type": "line",
        "name": name,
        "data": data,
        "showSymbol": len(data) == 1,
        "symbol": "circle",
        "symbolSize": 7,
        "sampling": "lttb",
        "color": f"var({colour})",
        "lineStyle": {"color": f"var({colour})", "width": width, "cap": "round", "join": "round"},
        "itemStyle": {"color": f"var({colour})", "borderColor": "var(--panel)", "borderWidth": 1.5},
        "emphasis": {"disabled": True},
        **more,
    }


def _ms(point: Point) -> int:
    return int(point.at.timestamp() * 1000)


def _dollars(micros: int) -> float:
    return (micros // 10_000) / 100


def equity_data(curve: Curve) -> dict[str, list[list[float]]]:
    """Return the chart's points: shadows, equity, fall from the peak in per cent."""
    falls: list[list[float]] = []
    peak: int | None = None
    for point in curve.points:
        base = curve.deposits_micros + point.pnl_micros
        peak = peak_with(peak, base)
        lost = drawdown(peak, base)
        falls.append([_ms(point), round(-lost.lost_micros / lost.base_micros * 100, 3) if lost else 0.0])
    return {
        "shadows": [[_ms(point), _dollars(point.equity_micros)] for point in curve.shadows],
        "equity": [[_ms(point), _dollars(point.equity_micros)] for point in curve.points],
        "falls": falls,
    }


def equity(curve: Curve, shadow_name: str) -> dict[str, Any]:
    """Return the chart of global equity with the deposited base and the strip of drawdown below."""
    data = equity_data(curve)
    values = [value for name in ("shadows", "equity") for _, value in data[name]]
    span = max(values) - min(values)
    bounds: dict[str, Any] = {}
    if span < SPAN_DOLLARS_MIN:
        low, high = int(min(values) // 5 * 5), int(-(-max(values) // 5) * 5)
        bounds = {"min": low if high - low >= SPAN_DOLLARS_MIN else low - 5, "max": max(high, low + 5), "interval": 5}
    base = _dollars(curve.deposits_micros)
    moved = any(point.net_flows_micros != curve.deposits_micros for point in curve.points)
    said = "deposits less withdrawals, now" if moved else "deposited"
    deposited = {
        "silent": True,
        "symbol": "none",
        "lineStyle": {"color": "var(--line-strong)", "type": [4, 4], "width": 1},
        "label": {
            "show": True,
            "position": "insideEndBottom" if curve.points[-1].pnl_micros >= 0 else "insideEndTop",
            "formatter": f"{said} {usd(curve.deposits_micros, short=True)}",
            "color": "var(--ink-3)",
            "fontSize": 11,
        },
        "data": [{"yAxis": base}],
    }
    deepest = min([-FALL_PERCENT_MIN, *(value for _, value in data["falls"])])
    return {
        "animation": False,
        "textStyle": {"fontFamily": FONT, "color": "var(--ink-2)"},
        "aria": {"enabled": False},
        "grid": [
            {"left": 16, "right": 72, "top": 14, "bottom": "31%"},
            {"left": 16, "right": 72, "top": "76%", "bottom": 26},
        ],
        "tooltip": _tooltip(),
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "xAxis": [_time_axis(curve, gridIndex=0, axisLabel={"show": False}), _time_axis(curve, gridIndex=1)],
        "yAxis": [
            _value_axis("usd0", gridIndex=0, **bounds),
            _value_axis(
                "pct", gridIndex=1, min=deepest, max=0, interval=-deepest, splitLine={"show": False},
                axisLabel={"showMaxLabel": False},
            ),
        ],
        "dataZoom": [_zoom()],
        "series": [
            _line(shadow_name, "--shadow-c", data["shadows"], 1.25, z=2),
            _line("Global", "--global", data["equity"], 2, z=3, areaStyle=_area("--global-fill"), markLine=deposited),
            _line(
                "_Drawdown", "--loss", data["falls"], 1, z=3, xAxisIndex=1, yAxisIndex=1,
                areaStyle={"color": "var(--loss)", "opacity": 0.12},
            ),
        ],
    }  # fmt: skip


def _area(fill: str) -> dict[str, Any]:
    stops = [{"offset": 0, "color": f"var({fill})"}, {"offset": 1, "color": "var(--fade)"}]
    return {"color": {"type": "linear", "x": 0, "y": 0, "x2": 0, "y2": 1, "colorStops": stops}, "origin": "start"}


def _tooltip() -> dict[str, Any]:
    return {
        "trigger": "axis",
        "confine": True,
        "backgroundColor": "var(--raised)",
        "borderWidth": 0,
        "padding": [8, 12],
        "extraCssText": "box-shadow:var(--e2);border-radius:6px",
        ":formatter": "sb.tip",
        "axisPointer": {"type": "line", "lineStyle": {"color": "var(--ink-3)", "width": 1, "type": [3, 3]}},
        "transitionDuration": 0,
    }


def _zoom() -> dict[str, Any]:
    return {
        "type": "inside",
        "xAxisIndex": [0, 1],
        "zoomOnMouseWheel": "ctrl",
        "moveOnMouseMove": True,
        "moveOnMouseWheel": False,
        "preventDefaultMouseMove": False,
        "filterMode": "none",
    }
