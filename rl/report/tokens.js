"use strict";
// The chosen completion: its tokens, their shading, the strip above them and the tooltip. All text is model output
// and only ever reaches the page as text nodes.
const Tokens = (() => {
  const SCORES = { waad: "WAAD", fai: "FAI", weight: "Weight", token_advantage: "Advantage", value: "Value" };
  const CRITICS = ["token_advantage", "value"]; // only shown where a critic told them
  // Line breaks and tabs get a mark; other controls, bidi overrides and invisible characters get their code point.
  const MARKED = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;
  const MARKS = { "\n": "\u21b5", "\t": "\u21e5" };
  const by = (id) => document.getElementById(id);
  const panel = by("tokens");
  if (!panel) return null;
  const tip = by("tip");
  const wave = by("wave");
  let sample = null;
  let spans = [];
  let current = -1;
  let wanted = "waad";

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function mark(text, className = "") {
    const made = element("i", `mark ${className}`);
    made.dataset.mark = text;
    return made;
  }

  function codePoint(char) {
    return `U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  }

  function visible(text, lines = true) {
    const out = document.createDocumentFragment();
    const blank = /^ +$/.test(text);
    let plain = "";
    const flush = () => {
      if (plain) out.append(plain);
      plain = "";
    };
    for (const char of text) {
      if (blank) {
        const space = mark("\u00b7", "over");
        space.append(char);
        out.append(space);
      } else if (MARKED.test(char) && (lines || char !== "\n")) {
        flush();
        out.append(mark(MARKS[char] ?? codePoint(char), MARKS[char] ? "" : "odd"));
        // A bare control would still act on the text around it; the mark stands for it.
        if (char === "\n" || char === "\t") out.append(char);
      } else {
        plain += char;
      }
    }
    flush();
    return out;
  }

  function short(value) {
    if (typeof value !== "number") return "not given";
    return value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  }

  function numbers(list) {
    return (list ?? []).filter((value) => typeof value === "number");
  }

  function shade() {
    const given = Object.keys(SCORES).filter((score) => numbers(sample[score]).length);
    const score = given.includes(wanted) ? wanted : given[0];
    for (const name of Object.keys(SCORES)) {
      const input = by(`shade-${name}`);
      input.disabled = !given.includes(name);
      input.nextElementSibling.hidden = input.disabled && CRITICS.includes(name);
      input.checked = name === score;
      const why = `No ${SCORES[name]} was recorded for this sample: its credit is uniform, or attention was not read.`;
      input.nextElementSibling.title = input.disabled ? why : "";
    }
    by("sample").dataset.shade = score ?? "";
    by("unscored").hidden = given.length > 0;
    by("scale").hidden = !score;
    if (score) paint(sample[score]);
  }

  function paint(values) {
    const sorted = numbers(values).sort((a, b) => a - b);
    const low = sorted[0];
    const most = sorted[sorted.length - 1];
    const cut = sorted[Math.min(sorted.length - 1, Math.floor(0.98 * sorted.length))];
    // One token in fifty may outshine the rest; past that cut all are equally dark, and the legend says so.
    const high = cut > low ? cut : most;
    spans.forEach((span, place) => {
      const value = values[place];
      const told = typeof value === "number" && high > low;
      span.style.setProperty("--t", told ? Math.min(1, (value - low) / (high - low)).toFixed(3) : "0");
    });
    by("scale-low").textContent = high > low ? `min ${short(low)}` : `all ${short(low)}`;
    const capped = `\u2265 ${short(high)}, max ${short(most)}`;
    by("scale-high").textContent = high > low ? (most > high ? capped : `max ${short(most)}`) : "";
  }

  function bars(values, height, sign) {
    const most = Math.max(...numbers(values), 0) || 1;
    return values.map((value, place) => {
      const tall = typeof value === "number" ? Math.max(0.4, (height * Math.max(0, value)) / most) : 0;
      return tall ? `M${place + 0.1} 50h.8v${(-sign * tall).toFixed(1)}h-.8z` : "";
    }).join("");
  }

  function strip() {
    const given = [sample.waad, sample.fai].map((values) => numbers(values).length > 0);
    by("strip").hidden = !(given[0] || given[1]);
    wave.setAttribute("viewBox", `0 0 ${Math.max(1, spans.length)} 100`);
    by("wave-waad").setAttribute("d", given[0] ? bars(sample.waad, 48, 1) : "");
    by("wave-fai").setAttribute("d", given[1] ? bars(sample.fai, 48, -1) : "");
    for (const [key, value] of Object.entries({ x1: 0, x2: spans.length, y1: 50, y2: 50 })) {
      by("wave-axis").setAttribute(key, value);
    }
    by("cursor").setAttribute("height", "100");
  }

  function flags(place) {
    const told = [];
    if (spans[place].classList.contains("anchor")) told.push("anchor");
    if (spans[place].classList.contains("preplan")) told.push("preplan");
    return told.join(", ") || "none";
  }

  function fillTip(place) {
    const list = element("dl");
    const told = Object.entries(SCORES).filter(([score]) => sample[score] || !CRITICS.includes(score));
    const rows = told.map(([score, name]) => [name, short(sample[score]?.[place])]);
    for (const [name, value] of [["Token", `${place + 1} of ${spans.length}`], ...rows, ["Marks", flags(place)]]) {
      list.append(element("dt", "", name), element("dd", "", value));
    }
    const code = element("code");
    code.append(visible(sample.tokens[place]) ?? "");
    tip.replaceChildren(code, list);
    by("readout").textContent = rows.map((row) => row.join(" ")).join(", ");
  }

  function point(place) {
    if (place === current) return;
    spans[current]?.classList.remove("on");
    current = place >= 0 && place < spans.length ? place : -1;
    by("cursor").classList.toggle("on", current >= 0);
    tip.hidden = current < 0;
    if (current < 0) return;
    spans[current].classList.add("on");
    by("cursor").setAttribute("x", String(current));
    fillTip(current);
    settle();
  }

  function settle() {
    if (current < 0) return;
    const box = spans[current].getClientRects()[0] ?? spans[current].getBoundingClientRect();
    tip.hidden = box.bottom < 0 || box.top > innerHeight;
    const left = Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8));
    const below = box.bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? box.bottom + 6 : Math.max(4, box.top - tip.offsetHeight - 6)}px`;
  }

  function show(next) {
    point(-1);
    sample = next;
    const anchors = new Set(sample.anchor ?? []);
    const preplans = new Set(sample.preplan ?? []);
    spans = sample.tokens.map((token, place) => {
      const span = element("span", `tok${anchors.has(place) ? " anchor" : ""}${preplans.has(place) ? " preplan" : ""}`);
      span.dataset.place = String(place);
      span.append(visible(token));
      return span;
    });
    panel.replaceChildren(...spans);
    if (!spans.length) panel.append(visible(sample.completion, false));
    shade();
    strip();
  }

  const under = (event) => Number(event.target.closest?.(".tok")?.dataset.place ?? -1);
  panel.addEventListener("pointerover", (event) => point(under(event)));
  panel.addEventListener("pointerleave", () => point(-1));
  panel.addEventListener("blur", () => point(-1));
  panel.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") point(-1);
    if (!move || !spans.length) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(spans.length - 1, current + move));
    spans[next].scrollIntoView({ block: "nearest", behavior: "instant" });
    point(next);
  });
  wave.addEventListener("pointermove", (event) => {
    const box = wave.getBoundingClientRect();
    point(Math.floor(((event.clientX - box.left) / box.width) * spans.length));
  });
  wave.addEventListener("pointerleave", () => point(-1));
  addEventListener("scroll", settle, { passive: true });
  for (const score of Object.keys(SCORES)) {
    by(`shade-${score}`).addEventListener("change", () => {
      wanted = score;
      shade();
    });
  }
  for (const kind of ["anchor", "preplan"]) {
    const box = by(`mark-${kind}`);
    const apply = () => panel.classList.toggle(`${kind}s`, box.checked);
    box.addEventListener("change", apply);
    apply();
  }
  return { show, visible, element, short };
})();
