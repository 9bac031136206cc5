// The board: asks /data, draws each panel with Chart.js and names the last values in a table below it.
"use strict";

const WORDS = { 3600: "1 hour", 21600: "6 hours", 86400: "1 day", 604800: "7 days", 2592000: "30 days", 7776000: "90 days", 31536000: "1 year" };
// colour-blind safe (Okabe and Ito); each line also has a dash of its own
const LIGHT = ["#0072b2", "#d55e00", "#007a5a", "#a8477b", "#8a6000", "#2a8cc4", "#6f6600", "#5f697d"];
const DARK = ["#56b4e9", "#e69f00", "#2fc79b", "#e79fc6", "#f0e442", "#8ab8f0", "#ff8a4c", "#a6afc0"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const EVERY = 30000; // milliseconds between two looks
const charts = new Map();
const isDark = matchMedia("(prefers-color-scheme: dark)");
const paint = (number) => (isDark.matches ? DARK : LIGHT)[number % LIGHT.length];
const find = (id) => document.getElementById(id);
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function make(tag, text = "", values = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
  return made;
}

function scale(value, step, units) {
  let at = 0;
  while (Math.abs(value) >= step && at < units.length - 1) { value /= step; at += 1; }
  return `${Number(value.toPrecision(3))} ${units[at]}`;
}

function show(value, unit) {
  if (unit === "percent") return `${value.toFixed(1)} %`;
  if (unit === "bytes") return scale(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
  if (unit === "rate") return scale(value, 1000, ["B/s", "kB/s", "MB/s", "GB/s"]);
  if (unit === "seconds") {
    const [size, word] = [[172800, "d"], [7200, "h"], [120, "min"]].find(([least]) => Math.abs(value) >= least) || [0, "s"];
    return `${Number((value / ({ d: 86400, h: 3600, min: 60 }[word] || 1)).toPrecision(3))} ${word}`;
  }
  if (unit === "hours") return `${Number(value.toPrecision(4))} h`;
  if (unit === "hourly") return `${Number(value.toPrecision(3))} /h`;
  return String(Number(value.toPrecision(4)));
}

function clock(seconds, range) {
  const when = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(when.getHours())}:${two(when.getMinutes())}`;
  return range > 86400 ? `${two(when.getDate())}.${two(when.getMonth() + 1)}. ${time}` : time;
}

const isBad = (panel, value) =>
  (panel.bad !== undefined && value >= panel.bad) || (panel.bad_below !== undefined && value < panel.bad_below);

function options(panel, told) {
  const faint = style("--faint"), line = style("--line");
  const ticks = (callback) => ({ color: faint, maxTicksLimit: 5, maxRotation: 0, callback });
  return {
    animation: false, maintainAspectRatio: false, parsing: false, normalized: true,
    interaction: { mode: "nearest", axis: "x", intersect: false },
    elements: { point: { radius: 0, hitRadius: 8 }, line: { borderWidth: 1.5 } },
    plugins: {
      legend: { display: false },
      tooltip: { callbacks: {
        title: (items) => (items.length ? clock(items[0].parsed.x, 2 * 86400) : ""),
        label: (item) => `${item.dataset.label}: ${show(item.parsed.y, panel.unit)}`,
      } },
    },
    scales: {
      x: { type: "linear", min: told.at - told.range, max: told.at, grid: { color: line }, ticks: ticks((value) => clock(value, told.range)) },
      y: { beginAtZero: true, suggestedMax: panel.max, grid: { color: line }, ticks: ticks((value) => show(value, panel.unit)) },
    },
  };
}

function tabulate(panel) {
  const table = make("table");
  panel.series.forEach((series, number) => {
    const last = series.points.length ? series.points[series.points.length - 1][1] : undefined;
    const row = make("tr"), name = make("th", "", { scope: "row" }), swatch = make("span", "", { class: "swatch" });
    swatch.style.background = paint(number);
    name.append(swatch, series.name);
    const bad = last !== undefined && isBad(panel, last);
    row.append(name, make("td", last === undefined ? "–" : show(last, panel.unit) + (bad ? " !" : ""), bad ? { class: "bad" } : {}));
    table.append(row);
  });
  return table;
}

function draw(panel, told) {
  const figure = make("figure"), box = make("div", "", { class: "canvas" });
  const canvas = make("canvas", "", { role: "img", "aria-label": `${panel.title}: chart; the last values are in the table below` });
  const caption = make("figcaption", panel.title);
  // who may see what to do is told what is watched
  if (told.watched.some((alarm) => alarm.name === panel.alarm))
    caption.append(" ", make("a", `alarm: ${spell(panel.alarm)}`, { href: `#${panel.alarm}`, class: "small" }));
  figure.append(caption);
  if (panel.series.length) { box.append(canvas); figure.append(box, tabulate(panel)); }
  else figure.append(make("p", "No numbers in this range.", { class: "small" }));
  find("panels").append(figure);
  if (!panel.series.length) return;
  const datasets = panel.series.map((series, number) => ({
    label: series.name, borderColor: paint(number), borderDash: DASHES[Math.floor(number / LIGHT.length) % DASHES.length],
    data: series.points.map(([x, y]) => ({ x, y })),
  }));
  const limit = panel.bad ?? panel.bad_below;
  // where it gets bad, as a line of its own
  if (limit !== undefined) datasets.push({
    label: "limit", borderColor: style("--bad"), borderWidth: 1, borderDash: [1, 4],
    data: [{ x: told.at - told.range, y: limit }, { x: told.at, y: limit }],
  });
  charts.set(panel.title, new Chart(canvas, { type: "line", data: { datasets }, options: options(panel, told) }));
}

function tellReport(report, told) {
  const figure = make("figure"), table = make("table"), head = make("tr");
  head.append(...report.columns.map((name, at) => make("th", name, { scope: "col", class: at === report.columns.length - 1 ? "number" : "" })));
  table.append(head);
  for (const row of report.rows) {
    const line = make("tr"), last = row.length - 1;
    line.append(...row.map((cell, at) => (at === last ? make("td", show(cell, report.columns[at])) : make("th", cell, { scope: "row" }))));
    table.append(line);
  }
  const query = new URLSearchParams({ name: report.name, range: told.range }), words = make("p", "", { class: "small" });
  words.append(make("a", "CSV", { href: `/report.csv?${query}`, "aria-label": `${report.title} as CSV` }), " ",
    make("a", "JSON", { href: `/report.json?${query}`, "aria-label": `${report.title} as JSON` }));
  figure.append(make("figcaption", report.title), report.rows.length ? table : make("p", "No numbers in this range.", { class: "small" }), words);
  return figure;
}

const spell = (name) => name.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();

function tellAlarm(alarm) {
  const words = alarm.where ? `${spell(alarm.name)} – ${alarm.where}` : spell(alarm.name);
  if (!alarm.runbook) return make("p", `${alarm.severity}: ${words}`, { class: alarm.severity });
  const details = make("details");
  details.append(make("summary", `${alarm.severity}: ${words}`, alarm.where ? { class: alarm.severity } : {}));
  for (const [name, text] of Object.entries(alarm.runbook || {})) details.append(make("p", `${name[0].toUpperCase()}${name.slice(1)}: ${text}`));
  return details;
}

// the address in a mail ends with the alarm's name, whether it still fires or not
function tellWatched(alarm) {
  const details = tellAlarm(alarm);
  details.id = alarm.name;
  details.open = location.hash === `#${alarm.name}`;
  return details;
}

function link(entry) {
  const query = new URLSearchParams(entry.of ? { page: entry.page, of: entry.of } : { page: entry.page });
  return make("a", entry.name, { href: entry.page === "facility" ? "/" : `/?${query}`, ...(entry.here ? { "aria-current": "page" } : {}) });
}

// one row for the facility, one for its sites, one for its nodes
function list(menu) {
  const rows = [["Facility", (entry) => !entry.of], ["Sites", (entry) => entry.page === "site"], ["Nodes", (entry) => entry.page === "node"]];
  return rows.filter(([, is]) => menu.some(is)).map(([words, is]) => {
    const nav = make("nav", "", { "aria-label": words });
    nav.append(...menu.filter(is).map(link));
    return nav;
  });
}

function fill(told) {
  find("name").textContent = told.title;
  find("menu").replaceChildren(...list(told.menu));
  find("watch").hidden = !told.admin;
  const choices = told.ranges.map((range) => make("option", WORDS[range], { value: range }));
  if (!find("range").options.length) find("range").replaceChildren(...choices);
  find("range").value = told.range;
  const alarms = told.alarms.map(tellAlarm);
  find("alarms").replaceChildren(...(alarms.length ? alarms : [make("p", "None.")]));
  if (!find("watched").children.length) find("watched").replaceChildren(...told.watched.map(tellWatched));
  charts.forEach((chart) => chart.destroy());
  charts.clear();
  find("panels").replaceChildren();
  find("panels").append(...told.reports.map((report) => tellReport(report, told)));
  told.panels.forEach((panel) => draw(panel, told));
  find("when").textContent = `Last update ${clock(told.at, 0)}`;
  find("when").classList.remove("bad");
}

async function look() {
  const asked = new URLSearchParams(location.search);
  const query = new URLSearchParams({ range: find("range").value, page: asked.get("page") || "", of: asked.get("of") || "" });
  try {
    const answer = await fetch(`/data?${query}`);
    if (answer.status === 401) return location.reload();
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.fault);
    fill(told);
  } catch (error) {
    find("when").textContent = `No update: ${error.message}`;
    find("when").classList.add("bad");
  }
}

find("range").addEventListener("change", look);
isDark.addEventListener("change", look);
addEventListener("hashchange", () => { const details = find(location.hash.slice(1)); if (details) details.open = true; });
setInterval(() => { if (!document.hidden) look(); }, EVERY);
look();
