"use strict";
// Theme and plots. Figures name their colours ("$blue", "$blue/0.3"); the style sheet says what they are.
const Rhythm = (() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data-plots").textContent);
  const system = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const probe = document.createElement("span");
  const figures = new Map();
  const drawn = new Set();
  const config = {
    displaylogo: false, displayModeBar: "hover", responsive: true, modeBarButtons: [["toImage", "resetScale2d"]],
  };
  // A plot is drawn when it comes near the window: a page of a long run opens at once.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) paint(entry.target);
  }, { rootMargin: "300px" });
  let inks = {};
  probe.hidden = true;
  document.body.append(probe);

  function ink(name) {
    if (!(name in inks)) {
      const [, key, alpha] = /^\$([a-z]+)(?:\/([\d.]+))?$/.exec(name);
      probe.style.color = `var(--${key})`;
      const colour = getComputedStyle(probe).color;
      inks[name] = alpha ? colour.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`) : colour;
    }
    return inks[name];
  }

  function inked(value) {
    if (typeof value === "string") return /^\$[a-z]+(\/[\d.]+)?$/.test(value) ? ink(value) : value;
    if (Array.isArray(value)) return value.map(inked);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inked(inner)]));
  }

  function draw(place, figure) {
    figures.set(place, figure);
    if (figure.layout.height) place.style.minHeight = `${figure.layout.height}px`;
    if (drawn.has(place)) paint(place);
    else watcher.observe(place);
  }

  function paint(place) {
    const { data: traces, layout } = figures.get(place);
    watcher.unobserve(place);
    drawn.add(place);
    Plotly.react(place, inked(traces), { ...inked(layout), dragmode: coarse ? false : "zoom" }, config);
  }

  function redraw() {
    inks = {};
    for (const place of drawn) paint(place);
    document.getElementById("theme-name").textContent = isDark() ? "Dark" : "Light";
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }

  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  system.addEventListener("change", redraw);
  addEventListener("beforeprint", () => [...figures.keys()].forEach(paint));

  function curves() {
    for (const place of document.querySelectorAll("[data-figure]")) {
      draw(place, data.figures[Number(place.dataset.figure)]);
    }
  }

  function options(select, names) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }

  function anyMetric() {
    const stage = document.getElementById("any-stage");
    const key = document.getElementById("any-key");
    if (!stage) return;
    const stages = Object.keys(data.series);
    if (!stages.length) {
      document.getElementById("any").hidden = true;
      return;
    }
    const show = () => {
      const own = data.series[stage.value];
      const look = { type: "scatter", line: { color: "$blue", width: 2 }, hovertemplate: "%{y:.4~g}<extra></extra>" };
      const mode = own.step.length < 3 ? "lines+markers" : "lines";
      const trace = { ...look, mode, x: own.step, y: own[key.value] };
      draw(document.getElementById("any-plot"), { data: [trace], layout: data.layout });
    };
    const restage = () => {
      const kept = key.value;
      options(key, Object.keys(data.series[stage.value]).filter((name) => name !== "step"));
      if ([...key.options].some((option) => option.value === kept)) key.value = kept;
      show();
    };
    options(stage, stages);
    stage.value = stages[stages.length - 1];
    stage.addEventListener("change", restage);
    key.addEventListener("change", show);
    restage();
    key.value = [...key.options].find((option) => option.value.startsWith("optimizer/grad"))?.value ?? key.value;
    show();
  }

  return { curves, anyMetric, draw, redraw, layout: data.layout };
})();

Rhythm.redraw();
Rhythm.curves();
Rhythm.anyMetric();
