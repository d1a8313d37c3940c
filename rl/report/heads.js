"use strict";
// Heads: maps of layer and head with a slider over snapshots, and the page of one head.
(() => {
  const data = JSON.parse(document.getElementById("data-heads").textContent);
  const by = (id) => document.getElementById(id);
  if (!by("score-map")) return;
  const SOURCES = { probe: "the probe set, always the same texts", rollouts: "the rollouts of the step",
    selection: "credit's own selection" };
  const SCORES = {
    distance: ["Mean backward distance", "tokens back", "How many tokens back each head looks on average."],
    entropy: ["Entropy", "nats", "Entropy of a row of attention: low where a head looks at few tokens."],
    sink: ["Sink", "share", "Share of attention that goes to the first token."],
    receiver: ["Receiver score", "kurtosis", "Kurtosis of the attention that sentences get from later ones: high where"
      + " a few sentences get nearly all."],
    retrieval: ["Retrieval score", "share", "Share of the prompt's repeated tokens that a head looked at while they"
      + " were written again."],
    credit: ["Share of credit", "share", "Of the attention to the response, the share that goes to tokens which credit"
      + " picked out."],
    drift: ["Drift", "spreads", "Root mean square of how far a head's scores are from the base model's, in units of"
      + " what chance alone moves them by."],
  };
  const LOGARITHMIC = new Set(["distance", "drift"]);
  const INKS = { local: "$blue", global: "$orange", receiver: "$green", retrieval: "$pink", sink: "$ink" };
  const KINDS = Object.keys(INKS);
  const FEW_CELLS = 64; // so many cells have room for their numbers
  const HEIGHT = Math.max(260, Math.min(640, 15 * data.layers.length + 90));
  const numbers = [...Array(data.heads).keys()];
  const chosen = { layer: data.layers[0], head: 0 };
  const score = by("score"), source = by("source"), slider = by("snapshot");
  const layer = by("head-layer"), number = by("head-number");

  const snapshots = () => data.sources[source.value];
  const snapshot = () => snapshots()[Number(slider.value)];
  const few = () => data.layers.length * data.heads <= FEW_CELLS;
  const short = (value) => value === null || value === undefined ? "" : String(Number(value.toPrecision(3)));
  const title = (name) => SCORES[name]?.[0] ?? name;

  function fill(select, values, words = (value) => value) {
    const kept = select.value;
    select.replaceChildren(...values.map((value) => new Option(words(value), value)));
    if (values.map(String).includes(kept)) select.value = kept;
  }

  function axes(extra) {
    const axis = { type: "category", showgrid: false, ticks: "", automargin: true, fixedrange: true };
    return {
      ...Rhythm.layout, hovermode: "closest", height: HEIGHT, ...extra,
      xaxis: { ...axis, title: { text: "head", standoff: 6 }, tickangle: 0, linecolor: "$line" },
      yaxis: { ...axis, title: { text: "layer", standoff: 6 }, linecolor: "$line" },
    };
  }

  const ends = new Map();

  function endsOf(name) { // the least and the largest value of a score over all snapshots: one scale for all of them
    const key = `${source.value} ${name}`;
    if (!ends.has(key)) {
      let low = Infinity, high = -Infinity;
      for (const one of snapshots()) for (const row of one.scores[name] ?? []) for (const value of row) {
        if (value === null) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
      ends.set(key, low <= high ? [low, high] : null);
    }
    return ends.get(key);
  }

  function drawScore() {
    const name = score.value, grid = snapshot().scores[name] ?? [];
    const log = LOGARITHMIC.has(name);
    const place = (value) => value === null ? null : log ? Math.log10(1 + Math.max(0, value)) : value;
    const found = endsOf(name);
    const [low, high] = found ? found.map(place) : [0, 1];
    const ticks = {};
    if (log && found) {
      const values = [0, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000, 2000, 5000, 10000]
        .filter((value) => place(value) >= low && place(value) <= high);
      const thinned = values.filter((_, index) => index % (Math.floor(values.length / 8) + 1) === 0);
      const shown = thinned.length > 2 ? thinned : [found[0], (found[0] + found[1]) / 2, found[1]];
      Object.assign(ticks, { tickvals: shown.map(place), ticktext: shown.map(short) });
    }
    const unit = SCORES[name]?.[1] ?? "";
    const trace = {
      type: "heatmap", x: numbers, y: data.layers, z: grid.map((row) => row.map(place)),
      text: grid.map((row) => row.map(short)), texttemplate: few() ? "%{text}" : "", xgap: 1.5, ygap: 1.5,
      zmin: low, zmax: high > low ? high : low + 1, hoverongaps: false,
      colorscale: [[0, "$mapfrom"], [0.5, "$mapmid"], [1, "$mapto"]],
      colorbar: { thickness: 10, outlinewidth: 0, title: { text: unit, side: "right" }, ...ticks },
      hovertemplate: `layer %{y}, head %{x}<br>%{text} ${unit}<extra></extra>`,
    };
    by("score-title").textContent = title(name);
    by("score-note").textContent = SCORES[name]?.[2] ?? "";
    Rhythm.draw(by("score-map"), { data: found ? [trace] : [], layout: axes(found ? {} : { annotations: [
      { text: "there was nothing to measure", showarrow: false, x: 0.5, y: 0.5, xref: "paper",
        yref: "paper" }] }) });
  }

  function drawKinds() {
    const grid = snapshot().kinds;
    const edges = KINDS.length + 1;
    const scale = ["$neither", ...KINDS.map((kind) => INKS[kind])]
      .flatMap((ink, index) => [[index / edges, ink], [(index + 1) / edges, ink]]);
    const trace = {
      type: "heatmap", x: numbers, y: data.layers, xgap: 1.5, ygap: 1.5, zmin: -0.5, zmax: edges - 0.5,
      z: grid.map((row) => row.map((kinds) => kinds.length ? KINDS.indexOf(kinds[0]) + 1 : 0)),
      text: grid.map((row) => row.map((kinds) => kinds.slice(1).join(", ") || " ")),
      hovertext: grid.map((row) => row.map((kinds) => kinds.join(", ") || "of no kind")),
      texttemplate: few() ? "%{text}" : "", colorscale: scale, showscale: false,
      hovertemplate: "layer %{y}, head %{x}<br>%{hovertext}<extra></extra>",
    };
    Rhythm.draw(by("kind-map"), { data: [trace], layout: axes() });
    for (const place of document.querySelectorAll("#kinds [data-kind]")) {
      place.textContent = String(grid.flat().filter((kinds) => kinds.includes(place.dataset.kind)).length);
    }
  }

  function drawHead() {
    const row = data.layers.indexOf(chosen.layer), name = score.value;
    const own = (one) => one.scores[name]?.[row]?.[chosen.head] ?? null;
    const now = snapshot();
    by("head-title").textContent = `Head ${chosen.layer}.${chosen.head}, ${title(name).toLowerCase()}`;
    const told = Object.keys(SCORES).filter((key) => now.scores[key]?.[row]?.[chosen.head] != null)
      .map((key) => `${title(key).toLowerCase()} ${short(now.scores[key][row][chosen.head])}`);
    const kinds = now.kinds[row][chosen.head].join(", ") || "of no kind";
    by("head-scores").textContent = `${now.name}: ${kinds}; ${told.join(", ")}.`;
    const looks = { probe: ["$blue", "solid"], rollouts: ["$orange", "dash"], selection: ["$green", "dot"] };
    const traces = Object.entries(data.sources).map(([key, all]) => ({
      type: "scatter", mode: "lines+markers", name: key, x: all.map((one) => one.name), y: all.map(own),
      line: { color: looks[key][0], dash: looks[key][1], width: 2 }, hovertemplate: "%{y:.4~g}",
    })).filter((trace) => trace.y.some((value) => value !== null));
    const layout = Rhythm.layout;
    Rhythm.draw(by("head-history"), { data: traces, layout: {
      ...layout, showlegend: true,
      yaxis: { ...layout.yaxis, title: { text: SCORES[name]?.[1] ?? "", standoff: 8 } },
      xaxis: { ...layout.xaxis, type: "category", categoryorder: "array", categoryarray: data.names, title: { text: "" },
        nticks: 6, unifiedhovertitle: { text: "%{x}" } },
    } });
    drawGaze();
  }

  // The text, token by token: pointing at one shows where the head looked from it; unpointed, how much each was looked at.
  function drawGaze() {
    const gaze = data.gaze, text = by("gaze-text");
    const peaks = gaze?.peaks[chosen.layer]?.[chosen.head], tops = gaze?.tops[chosen.layer]?.[chosen.head];
    by("gaze").hidden = !Array.isArray(peaks) || !Array.isArray(tops);
    if (by("gaze").hidden) return;
    const got = gaze.tokens.map(() => 0);
    peaks.forEach((key, index) => { if (key in got) got[key] += tops[index] ?? 0; });
    const most = Math.max(...got, 1e-9);
    const idle = `${gaze.name}: the first probe text. Shade: how much of the response's strongest looks a token gets. `
      + "Point at a token of the response to see where it looks.";
    by("gaze-note").textContent = idle;
    const spans = gaze.tokens.map((token, index) => {
      const span = document.createElement("span");
      span.textContent = token;
      span.className = index < gaze.first ? "given" : "written";
      span.style.setProperty("--got", (got[index] / most).toFixed(3));
      return span;
    });
    const point = (index) => {
      for (const span of spans) span.classList.remove("from", "seen");
      const row = index - gaze.first;
      if (row < 0 || row >= peaks.length) {
        by("gaze-note").textContent = idle;
        return;
      }
      spans[index].classList.add("from");
      spans[peaks[row]]?.classList.add("seen");
      by("gaze-note").textContent = `From ${JSON.stringify(gaze.tokens[index])} it looks most at `
        + `${JSON.stringify(gaze.tokens[peaks[row]] ?? "")}, ${index - peaks[row]} tokens back, with `
        + `${Math.round(100 * tops[row])} % of its attention.`;
    };
    spans.forEach((span, index) => {
      span.addEventListener("pointerenter", () => point(index));
      span.addEventListener("click", () => point(index));
    });
    text.onpointerleave = () => point(-1);
    text.replaceChildren(...spans);
  }

  function choose(chosenLayer, head) {
    Object.assign(chosen, { layer: chosenLayer, head });
    layer.value = String(chosenLayer);
    number.value = String(head);
    drawHead();
  }

  function show() {
    by("snapshot-name").textContent = snapshot().name;
    drawScore();
    drawKinds();
    drawHead();
  }

  function resource() {
    const all = snapshots();
    const names = new Set(all.flatMap((one) => Object.keys(one.scores)));
    fill(score, Object.keys(SCORES).filter((name) => names.has(name)), title);
    slider.max = String(all.length - 1);
    slider.value = slider.max;
    slider.closest(".slider").hidden = all.length < 2;
    show();
  }

  fill(source, Object.keys(data.sources), (name) => SOURCES[name] ?? name);
  fill(layer, data.layers);
  fill(number, numbers);
  source.addEventListener("change", resource);
  score.addEventListener("change", show);
  slider.addEventListener("input", show);
  layer.addEventListener("change", () => choose(Number(layer.value), chosen.head));
  number.addEventListener("change", () => choose(chosen.layer, Number(number.value)));
  resource();
  for (const id of ["score-map", "kind-map"]) {
    const listen = () => by(id).on("plotly_click", (event) => {
      choose(Number(event.points[0].y), Number(event.points[0].x));
      by("head").scrollIntoView({ block: "nearest" });
    });
    new MutationObserver((_, observer) => {
      if (!by(id).on) return;
      observer.disconnect();
      listen();
    }).observe(by(id), { childList: true });
  }
})();
