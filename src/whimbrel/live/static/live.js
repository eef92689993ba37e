"use strict";
// Follows one picture by server-sent events: sections come whole when they change, series by the points that are new.
// What others have said (names, steps) is only ever set as text.

const sections = {};
const series = {};
const charts = {};
const byId = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const colours = ["#4c78a8", "#e0803a", "#54a24b", "#b279a2", "#d1383a", "#72b7b2", "#9d755d", "#8a8f95"];
let lastWord = Date.now();

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function replace(parent, children) { parent.replaceChildren(...children); }
function show(id) { byId(id).hidden = false; }

function bytes(value) {
  if (value === null || value === undefined) return "unknown";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (Math.abs(value) >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  // From a thousand on three digits would be written with an exponent.
  return `${Math.abs(value) < 999.5 ? value.toPrecision(3) : value.toFixed(0)} ${units[at]}`;
}
function seconds(value) {
  if (value === null || value === undefined) return "unknown";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`;
}
function numbers(id, pairs) {
  replace(byId(id), pairs.map(([name, value]) => {
    const both = element("div");
    both.append(element("dt", name), element("dd", value));
    return both;
  }));
}

// --- sections

function drawAbout() {
  const about = sections.about;
  byId("title").textContent = about.title;
  document.title = `${about.title} - whimbrel, live`;
  if (about.ended) byId("state").textContent = about.report ? "ended; the report follows" : "ended";
  else byId("state").textContent = "live";
}

function drawSteps() {
  const steps = sections.steps;
  byId("step").textContent = steps.length ? steps[steps.length - 1].text : "";
  replace(byId("steps"), steps.map((step) => element("li", `${step.t.toFixed(1)} s: ${step.text}`)));
}

function drawMove() {
  const move = sections.move;
  show("move");
  byId("way").textContent = move.source === null ? "made by a command"
    : `from ${move.source}${move.destination === null ? "" : ` to ${move.destination}`}`;
  const from = move.called ?? (move.phases.length ? move.phases[0].from : 0);
  const ends = move.phases.map((phase) => phase.to ?? phase.from);
  const until = Math.max(from + 0.001, ...ends, move.returned ?? newest());
  const at = (t) => Math.min(100, Math.max(0, 100 * (t - from) / (until - from)));
  replace(byId("phases").tBodies[0], move.phases.map((phase) => {
    const row = element("tr");
    const name = element("th", phase.name);
    name.scope = "row";
    const open = phase.to === null;
    const cells = [(phase.from - from).toFixed(3), open ? "under way" : (phase.to - from).toFixed(3),
      open ? "" : seconds(phase.to - phase.from)].map((text) => element("td", text));
    const wide = element("td", undefined, "wide");
    const bar = element("div", undefined, "bar");
    const part = element("i", undefined, open ? "open" : "");
    part.style.left = `${at(phase.from)}%`;
    part.style.width = `${at(open ? until : phase.to) - at(phase.from)}%`;
    bar.append(part);
    wide.append(bar);
    row.append(name, ...cells, wide);
    return row;
  }));
  drawNumbers();
}

// The last moment of which anything is known.
function newest() {
  const lines = Object.values(series).map((one) => one.rows.at(-1)?.[0] ?? 0);
  const strips = Object.values(sections.strips?.strips ?? {}).map((parts) => parts.at(-1)?.[1] ?? 0);
  return Math.max(0, ...lines, ...strips);
}

function drawNumbers() {
  const job = sections.job, move = sections.move;
  if (!move || move.source === null) return;
  const rounds = move.rounds.length ? String(move.rounds[move.rounds.length - 1].number) : "none yet";
  const pairs = [["round", rounds]];
  if (job) {
    let end = "not known yet";
    if (move.returned) end = "it has returned";
    else if (job.converges === false) end = "does not converge";
    else if (job.left_s !== null) {
      end = seconds(job.left_s);
      if (job.least_s !== null) end += ` (${seconds(job.least_s)} to ${job.most_s === null ? "open" : seconds(job.most_s)})`;
    }
    pairs.push(["sent", bytes(job.transferred_bytes)], ["left", bytes(job.remaining_bytes)],
      ["dirtied", job.dirty_pages_per_s === null ? "unknown" : `${bytes(job.dirty_pages_per_s * 4096)}/s`],
      ["expected end in", end]);
  }
  numbers("numbers", pairs);
}

function drawFigures() {
  const names = {total_s: "total time", qemu_downtime_ms: "downtime (QEMU)", blackout_ms: "blackout",
    reachability_gap_ms: "reachability gap", service_gap_ms: "service gap", transferred_bytes: "sent"};
  show("outcome");
  numbers("figures", Object.entries(names).filter(([key]) => key in sections.figures).map(([key, name]) => {
    const value = sections.figures[key];
    if (value === null) return [name, "unknown"];
    if (key.endsWith("_bytes")) return [name, bytes(value)];
    return [name, key.endsWith("_ms") ? `${value.toFixed(1)} ms` : seconds(value)];
  }));
}

function drawStrips() {
  const {strips, left_out: leftOut} = sections.strips;
  const names = Object.keys(strips ?? {});
  byId("strips").hidden = names.length === 0;
  const all = names.flatMap((name) => strips[name]);
  const from = Math.min(...all.map((part) => part[0])), until = Math.max(...all.map((part) => part[1]), from + 1);
  replace(byId("strip-rows"), names.map((name) => {
    const row = element("div", undefined, "strip");
    const label = element("span", name);
    label.title = name;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${until - from} 1`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    const silent = strips[name].filter((part) => part[2] !== "good");
    const lost = silent.reduce((sum, part) => sum + part[1] - part[0], 0);
    svg.setAttribute("aria-label", `${name}: ${silent.length} gaps, ${seconds(lost)} in all`);
    for (const [start, end, state] of strips[name]) {
      const part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      part.setAttribute("x", start - from);
      part.setAttribute("width", end - start);
      part.setAttribute("height", 1);
      part.setAttribute("class", state);
      svg.append(part);
    }
    row.append(label, svg);
    return row;
  }));
  byId("left-out").textContent = leftOut ? "There are more, which are not shown." : "";
}

function drawCampaign() {
  const trials = sections.campaign.trials;
  show("campaign");
  const made = trials.filter((trial) => trial.state === "done" || trial.state === "failed");
  const failed = made.filter((trial) => trial.state === "failed").length;
  byId("progress").textContent = `${made.length} of ${trials.length} trials made, ${failed} of them failed`;
  replace(byId("trials"), trials.map((trial) => {
    const one = element("li", `${trial.order} ${trial.arm}`, trial.state.replace(" ", "-"));
    one.title = `${trial.block ? `block ${trial.block}` : "warm-up"}: ${trial.result ?? trial.state}`;
    return one;
  }));
}

const draw = {about: drawAbout, steps: drawSteps, move: drawMove, figures: drawFigures,
  strips: drawStrips, campaign: drawCampaign};

// --- charts

const MOVE_CHARTS = {
  memory: {title: "Memory sent and left", from: "job", columns: {sent: "sent_bytes", left: "left_bytes"}, unit: bytes},
  dirty: {title: "Memory dirtied per second", from: "job", columns: {dirtied: "dirty_bytes_per_s"}, unit: bytes},
  expected: {title: "Time to go, as expected then", from: "expected",
    columns: {"at least": "least_s", expected: "middle_s", "at most": "most_s"}, unit: seconds},
};
const HOST_CHARTS = {
  cpu: {title: "CPU in use (processors)", columns: ["cpu"], unit: (value) => value.toFixed(2)},
  memory: {title: "Memory", columns: ["memory_bytes"], unit: bytes},
  network: {title: "Network, in and out per second", columns: ["net_in_bytes_per_s", "net_out_bytes_per_s"], unit: bytes},
  disk: {title: "Disk, read and written per second", columns: ["disk_read_bytes_per_s", "disk_written_bytes_per_s"], unit: bytes},
};
const SHORT = {net_in_bytes_per_s: " in", net_out_bytes_per_s: " out", disk_read_bytes_per_s: " read",
  disk_written_bytes_per_s: " written", cpu: "", memory_bytes: ""};

// Ticks at whole powers of two, as sizes are told in them.
const POWERS = Array.from({length: 51}, (_, power) => 2 ** power);

// One line: its label, the series it comes from, and its column there.
function chart(key, parentId, title, lines, unit) {
  const found = lines.filter(([, from, column]) => series[from] && series[from].columns.includes(column)
    && series[from].rows.some((row) => row[series[from].columns.indexOf(column)] !== null));
  if (!found.length) return;
  const names = found.map(([label]) => label).join("|");
  let known = charts[key];
  if (!known || known.names !== names) {
    if (known) { known.plot.destroy(); known.box.remove(); }
    const box = element("div", undefined, "chart");
    box.append(element("h3", title));
    byId(parentId).append(box);
    const ink = dark.matches ? "#a3adb8" : "#5b6672", line = dark.matches ? "#37414b" : "#d5dbe1";
    const axis = {stroke: ink, grid: {stroke: line, width: 1}, ticks: {stroke: line, width: 1}};
    const options = {
      width: Math.max(200, box.clientWidth - 12), height: 170, scales: {x: {time: false}},
      axes: [axis, {...axis, size: 78, values: (_, ticks) => ticks.map((tick) => unit(tick)), ...(unit === bytes ? {incrs: POWERS} : {})}],
      series: [{label: "s", value: (_, value) => value === null ? "" : value.toFixed(1)},
        ...found.map(([label], at) => ({label, stroke: colours[at % colours.length], width: 1.5, spanGaps: true,
          value: (_, value) => value === null || value === undefined ? "" : unit(value)}))],
    };
    known = charts[key] = {names, box, plot: new uPlot(options, [[]], box)};
    sizes.observe(box);
  }
  known.plot.setData(joined(found));
}

function joined(lines) {
  const each = lines.map(([, from, column]) => {
    const at = series[from].columns.indexOf(column);
    return [series[from].rows.map((row) => row[0]), series[from].rows.map((row) => row[at])];
  });
  return uPlot.join(each);
}

function drawCharts(grown) {
  if (grown.has("job") || grown.has("expected")) {
    for (const [key, one] of Object.entries(MOVE_CHARTS)) {
      chart(key, "move-charts", one.title, Object.entries(one.columns).map(([label, column]) => [label, one.from, column]), one.unit);
    }
  }
  const hosts = Object.keys(series).filter((name) => name.startsWith("host ") && name !== "host machine" && !name.includes("qemu@"));
  if (hosts.length && hosts.some((name) => grown.has(name))) {
    show("hosts");
    for (const [key, one] of Object.entries(HOST_CHARTS)) {
      const lines = hosts.sort().flatMap((name) => one.columns.map((column) => [name.slice(5) + SHORT[column], name, column]));
      chart(`host ${key}`, "host-charts", one.title, lines, one.unit);
    }
  }
}

// By night charts have other colours: they are made anew with the next news.
dark.addEventListener("change", () => {
  for (const [key, known] of Object.entries(charts)) {
    known.plot.destroy();
    known.box.remove();
    delete charts[key];
  }
  drawCharts(new Set(Object.keys(series)));
});

// A chart that comes later makes room for itself beside the first.
const sizes = new ResizeObserver(() => {
  for (const known of Object.values(charts)) {
    const width = Math.max(200, known.box.clientWidth - 12);
    if (known.plot.width !== width) known.plot.setSize({width, height: 170});
  }
});

// --- following

function take(message) {
  lastWord = Date.now();
  const grown = new Set();
  for (const [name, news] of Object.entries(message.series ?? {})) {
    if (news.anew || !series[name]) series[name] = {columns: news.columns, rows: news.rows};
    else series[name].rows.push(...news.rows);
    grown.add(name);
  }
  for (const [name, content] of Object.entries(message.sections ?? {})) {
    sections[name] = content;
    if (name in draw) draw[name]();
  }
  // Phases that are open grow with whatever is heard.
  if (sections.move && (sections.move.returned ?? null) === null) drawMove();
  if (grown.size) drawCharts(grown);
  if (sections.about && sections.about.ended) end();
}

const source = new EventSource("/events");
source.onmessage = (event) => take(JSON.parse(event.data));
source.onopen = () => { if (sections.about) drawAbout(); };
source.onerror = () => { if (!sections.about || !sections.about.ended) byId("state").textContent = "whimbrel does not answer; what is shown is what was last heard"; };

function end() {
  source.close();
  if (sections.about.report) window.location.assign("/report");
}
