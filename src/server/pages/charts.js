// Small charts in SVG: lines over the last minute, and bars.
//
// A chart stands in the page's markup, empty; nothing here makes any but lines and rectangles in it. Colours and strokes are
// the style sheet's, by class.

// The time from end to end: a minute, and less until there is a minute to show.
const SPAN_MAX_MS = 60000;
const SPAN_MIN_MS = 5000;
const WIDTH = 600;
const HEIGHT = 120;
const PAD = 4;

function child(svg, name, attributes) {
  const node = document.createElementNS(svg.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  svg.append(node);
  return node;
}

// The next number that looks round.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((round) => round >= value);
}

// From zero to a round number above all.
const linear = (values) => {
  const top = roundUp(Math.max(1, ...values));
  return { top, bottom: 0, at: (value) => value / top };
};

// Whole decades around all, since times differ by powers of ten.
const decades = (values) => {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const low = Math.floor(Math.min(...logs));
  const high = Math.max(low + 1, Math.ceil(Math.max(...logs)));
  return { top: 10 ** high, bottom: 10 ** low, at: (value) => (Math.log10(value) - low) / (high - low) };
};

// A chart of `names.length` lines in `figure`: an svg, and two labels for the ends of the axis.
export function lineChart(figure, { names, format, isLogarithmic = false }) {
  const svg = figure.querySelector("svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  for (const part of [0, 0.5, 1]) {
    const y = PAD + part * (HEIGHT - 2 * PAD);
    child(svg, "line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y });
  }
  const area = names.length === 1 ? child(svg, "path", { class: "area" }) : null;
  const lines = names.map((name, index) => child(svg, "path", { class: `line line-${index}`, "data-name": name }));
  const samples = [];

  // Takes one value for each line; null where nothing happened, which leaves the line going on to the next.
  function add(at, values) {
    if (samples.length > 0 && at < samples.at(-1).at) samples.length = 0;
    samples.push({ at, values });
    while (samples[0].at < at - SPAN_MAX_MS) samples.shift();
    draw(at);
  }

  function draw(now) {
    const known = samples.flatMap(({ values }) => values).filter((value) => value !== null);
    if (known.length === 0) return;
    const span = Math.max(SPAN_MIN_MS, now - samples[0].at);
    const scale = (isLogarithmic ? decades : linear)(known);
    const x = (at) => (WIDTH * (1 - (now - at) / span)).toFixed(1);
    const y = (value) => (HEIGHT - PAD - scale.at(value) * (HEIGHT - 2 * PAD)).toFixed(1);
    lines.forEach((line, index) => {
      const points = samples.filter(({ values }) => values[index] !== null);
      const path = points.map(({ at, values }) => `${x(at)},${y(values[index])}`).join("L");
      line.setAttribute("d", points.length > 0 ? `M${path}` : "");
      if (area && points.length > 0) {
        area.setAttribute("d", `M${x(points[0].at)},${HEIGHT - PAD}L${path}L${x(points.at(-1).at)},${HEIGHT - PAD}Z`);
      }
    });
    figure.querySelector(".top").textContent = format(scale.top);
    figure.querySelector(".bottom").textContent = format(scale.bottom);
  }

  return { add, clear: () => { samples.length = 0; } };
}

// Rows of a label, a bar and a number, the longest bar first. `template` is the row to copy.
export function barChart(list, template) {
  return (rows, format) => {
    const longest = Math.max(1, ...rows.map(([, count]) => count));
    while (list.childElementCount > rows.length) list.lastElementChild.remove();
    while (list.childElementCount < rows.length) list.append(template.content.cloneNode(true));
    rows.forEach(([label, count], index) => {
      const row = list.children[index];
      row.querySelector(".label").textContent = label;
      row.querySelector(".count").textContent = format(count);
      row.querySelector("rect").setAttribute("width", `${(100 * count) / longest}%`);
    });
  };
}
