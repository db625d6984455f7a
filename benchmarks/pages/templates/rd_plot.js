"use strict";
// The RD plot: draws the figure of the chosen metric; the legend's buttons show and hide its curves.
{
  const figures = JSON.parse(document.getElementById("rd-figures").textContent);
  const plot = document.getElementById("rd-plot");
  const metricButtons = [...document.querySelectorAll("[data-metric]")];
  const notes = [...document.querySelectorAll("[data-note]")];
  const legendButtons = [...document.querySelectorAll("[data-curve]")];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const isTouch = window.matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
    toImageButtonOptions: { filename: "rate-distortion", scale: 2 },
  };
  const narrow = window.matchMedia("(max-width: 40rem)");
  const isPressed = (button) => button.getAttribute("aria-pressed") === "true";
  let metric = metricButtons.find(isPressed).dataset.metric;

  // Where the logarithmic axis has its numbers.
  function rates() {
    const digits = narrow.matches ? [1, 3] : [1, 2, 5];
    return [-4, -3, -2, -1, 0, 1].flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)));
  }

  function themed(layout) {
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const font = { color: colour("--text"), family: getComputedStyle(document.body).fontFamily, size: 13 };
    const axis = { gridcolor: colour("--line"), linecolor: colour("--quiet"), zeroline: false, showline: true, ticks: "outside", tickcolor: colour("--quiet") };
    return {
      ...layout,
      font,
      dragmode: isTouch ? false : "zoom", // a finger scrolls the page
      xaxis: { ...layout.xaxis, ...axis, tickvals: rates(), ticktext: rates().map(String), tickangle: 0 },
      yaxis: { ...layout.yaxis, ...axis, showline: false, ticks: "" },
      hoverlabel: { ...layout.hoverlabel, bgcolor: colour("--panel"), bordercolor: colour("--quiet"), font },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--quiet"), activecolor: colour("--text") },
    };
  }

  function draw() {
    const shown = new Set(legendButtons.filter(isPressed).map((button) => button.dataset.curve));
    const { data, layout } = figures[metric];
    const there = new Set(data.map((trace) => trace.meta.key));
    const traces = data.map((trace) => ({
      ...trace,
      visible: shown.has(trace.meta.key) ? true : "legendonly",
      mode: narrow.matches ? "lines+markers" : trace.mode, // no room for names beside the curves
    }));
    for (const button of legendButtons) button.disabled = !there.has(button.dataset.curve);
    for (const button of metricButtons) button.setAttribute("aria-pressed", String(button.dataset.metric === metric));
    for (const note of notes) note.hidden = note.dataset.note !== metric;
    Plotly.react(plot, traces, themed(layout), config);
  }

  for (const button of metricButtons) {
    button.addEventListener("click", () => {
      metric = button.dataset.metric;
      draw();
    });
  }
  for (const button of legendButtons) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!isPressed(button)));
      draw();
    });
  }
  for (const query of [dark, narrow]) query.addEventListener("change", draw);
  draw();
}
