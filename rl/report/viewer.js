"use strict";
// The list of samples, of which only the rows in view exist, and what is told of the chosen one.
const Viewer = Tokens && (() => {
  const ROW = 58;
  const SPARE = 6;
  const { element, short, visible } = Tokens;
  const by = (id) => document.getElementById(id);
  const list = by("list");
  const rows = by("rows");
  const samples = JSON.parse(by("data-samples").textContent);
  const groups = new Map();
  let shown = [];
  let chosen = -1;

  function verdict(sample) {
    const value = sample.reward.answer;
    return typeof value === "number" ? (value > 0 ? "right" : "wrong") : "unscored";
  }

  function badge(sample) {
    const kind = verdict(sample);
    const made = element("span", `verdict ${kind}`, { right: "\u2713", wrong: "\u2715", unscored: "?" }[kind]);
    made.setAttribute("role", "img");
    made.setAttribute("aria-label", kind === "unscored" ? "not scored" : kind);
    return made;
  }

  function where(sample) {
    const group = sample.group === null ? "" : ` \u00b7 group ${sample.group}`;
    return `${sample.stage} \u00b7 step ${sample.step ?? "?"}${group}`;
  }

  const stages = [...new Set(samples.map((sample) => sample.stage))];
  samples.forEach((sample, place) => {
    sample.place = place;
    sample.when = stages.indexOf(sample.stage) * 1e9 + (sample.step ?? 0);
    sample.stepKey = `${sample.stage} \u00b7 ${sample.step ?? "?"}`;
    sample.text = `${sample.prompt}\n${sample.completion}\n${sample.answer}`.toLowerCase();
    sample.groupKey = `${sample.stepKey} \u00b7 ${sample.group}`;
    if (sample.group === null) return;
    if (!groups.has(sample.groupKey)) groups.set(sample.groupKey, []);
    groups.get(sample.groupKey).push(sample);
  });

  function steps() {
    for (const key of new Set(samples.map((sample) => sample.stepKey))) by("pick-step").append(new Option(key, key));
  }

  const measures = {
    step: (sample) => sample.when,
    reward: (sample) => sample.reward.total ?? -Infinity,
    length: (sample) => sample.tokens.length,
  };

  function filter() {
    const words = by("find").value.toLowerCase();
    const step = by("pick-step").value;
    const kind = by("pick-verdict").value;
    const sort = by("sort").value;
    const sign = sort.startsWith("-") ? -1 : 1;
    const measure = measures[sort.replace("-", "")];
    shown = samples.filter((sample) => (!step || sample.stepKey === step) && (!kind || verdict(sample) === kind)
      && (!words || sample.text.includes(words)));
    // Infinity minus itself is no number, so equal measures fall through to the order of the run.
    shown.sort((a, b) => sign * (measure(a) - measure(b)) || a.place - b.place);
    const all = samples.length;
    by("count").textContent = shown.length === all ? `${all} samples` : `${shown.length} of ${all} samples`;
    rows.style.height = `${shown.length * ROW}px`;
    list.scrollTop = 0;
    const kept = shown.findIndex((sample) => sample.place === chosen);
    if (shown.length) choose(kept >= 0 ? kept : 0, false);
    else paintRows();
  }

  function row(sample, index) {
    const made = element("div", "row");
    made.id = `row-${sample.place}`;
    made.dataset.index = String(index);
    made.style.top = `${index * ROW}px`;
    for (const [name, value] of Object.entries({ role: "option", "aria-setsize": shown.length,
      "aria-posinset": index + 1, "aria-selected": sample.place === chosen })) made.setAttribute(name, String(value));
    const words = element("span", "words");
    words.append(visible(sample.completion.slice(0, 90).replace(/\s+/g, " "), false));
    made.append(badge(sample), element("span", "where", where(sample)),
      element("span", "total", short(sample.reward.total ?? null)), words);
    return made;
  }

  function paintRows() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
    rows.replaceChildren(...shown.slice(first, last).map((sample, offset) => row(sample, first + offset)));
    list.setAttribute("aria-activedescendant", chosen >= 0 ? `row-${chosen}` : "");
  }

  function chip(name, value, className = "") {
    const made = element("li", className);
    const bold = element("b");
    bold.append(visible(value));
    const words = element("span");
    words.append(visible(name), " ");
    made.append(words, bold);
    return made;
  }

  function chips(sample) {
    const parts = Object.entries(sample.reward).filter(([name]) => name !== "total");
    const made = [chip("reward", short(sample.reward.total ?? null))];
    made.push(...parts.map(([name, value]) => chip(name, value === null ? "not scored" : short(value))));
    made.push(chip("advantage", (sample.advantage > 0 ? "+" : "") + short(sample.advantage)));
    made.push(chip("tokens", String(sample.tokens.length)), chip("gold answer", sample.answer || "none", "gold"));
    if (sample.truncated) made.push(chip("truncated", "at the length limit", "warn"));
    by("chips").replaceChildren(...made);
  }

  function siblings(sample) {
    const own = groups.get(sample.groupKey) ?? [];
    by("group-row").hidden = own.length < 2;
    by("siblings").replaceChildren(...own.map((other) => {
      const button = element("button", "quiet");
      button.type = "button";
      button.title = `Reward ${short(other.reward.total ?? null)}`;
      button.setAttribute("aria-current", String(other === sample));
      button.append(badge(other));
      button.addEventListener("click", () => jump(other));
      return button;
    }));
  }

  function jump(sample) {
    if (!shown.includes(sample)) {
      for (const id of ["find", "pick-step", "pick-verdict"]) by(id).value = "";
      filter();
    }
    choose(shown.indexOf(sample));
  }

  function detail(sample, index) {
    by("sample-name").textContent = where(sample);
    by("place").textContent = `${index + 1} of ${shown.length}`;
    by("previous").disabled = index === 0;
    by("next").disabled = index === shown.length - 1;
    chips(sample);
    siblings(sample);
    by("prompt").replaceChildren(visible(sample.prompt, false));
    Tokens.show(sample);
  }

  function choose(index, scroll = true) {
    const sample = shown[index];
    if (!sample) return;
    const same = sample.place === chosen;
    chosen = sample.place;
    const top = index * ROW;
    const hidden = top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight;
    if (hidden && (scroll || index)) list.scrollTop = Math.max(0, top - list.clientHeight / 2 + ROW);
    paintRows();
    if (same && !scroll) by("place").textContent = `${index + 1} of ${shown.length}`;
    else detail(sample, index);
    // Whoever moves on from deep inside a long completion wants the next one from its beginning.
    if (scroll && by("sample").getBoundingClientRect().top < 48) by("sample").scrollIntoView({ behavior: "instant" });
  }

  const at = () => shown.findIndex((sample) => sample.place === chosen);
  const clamp = (index) => Math.max(0, Math.min(shown.length - 1, index));
  const page = () => Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const keys = {
    ArrowDown: () => at() + 1, ArrowUp: () => at() - 1, PageDown: () => at() + page(), PageUp: () => at() - page(),
    Home: () => 0, End: () => shown.length - 1,
  };

  by("samples").addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, pre");
    const free = event.target === list || (event.key.startsWith("Arrow") && !typing);
    if (!free || !keys[event.key] || !shown.length || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    choose(clamp(keys[event.key]()));
  });
  list.addEventListener("scroll", paintRows, { passive: true });
  list.addEventListener("click", (event) => {
    const picked = event.target.closest(".row");
    if (picked) choose(Number(picked.dataset.index));
  });
  new ResizeObserver(paintRows).observe(list);
  by("previous").addEventListener("click", () => choose(clamp(at() - 1)));
  by("next").addEventListener("click", () => choose(clamp(at() + 1)));
  by("find").addEventListener("input", filter);
  for (const id of ["pick-step", "pick-verdict", "sort"]) by(id).addEventListener("change", filter);
  steps();
  filter();
  return { choose };
})();
