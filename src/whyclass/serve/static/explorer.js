// The explorer's one script. Every page can be read without it; it saves round trips, and draws.
"use strict";
const byId = id => document.getElementById(id);
const all = (where, what) => [...where.querySelectorAll(what)];
const asked = async address => {
  const answer = await fetch(address, {credentials: "same-origin"});
  if (!answer.ok) throw new Error(String(answer.status));
  return answer;
};

// ---------------------------------------------------------------- the first page: search, filter, sort
function grid() {
  const form = byId("find"), cards = byId("cards");
  if (!form || !cards) return;
  const items = all(cards, ".card"), words = byId("words"), level = byId("level"), sort = byId("sort"), fewest = byId("fewest");
  let sorted = sort.value;
  const show = () => {
    if (sort.value !== sorted) {
      sorted = sort.value;
      const value = card => sorted === "name" ? card.dataset.name : Number(card.dataset[sorted]);
      items.sort((a, b) => value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a.dataset.failures - b.dataset.failures);
      cards.append(...items);
    }
    const text = words.value.trim().toLowerCase(), least = Number(fewest.value) || 0;
    let shown = 0;
    for (const card of items) {
      const fits = card.dataset.text.includes(text) && (!level.value || card.dataset.level === level.value) && Number(card.dataset.images) >= least;
      card.hidden = !fits;
      shown += fits;
    }
    byId("shown").textContent = `${shown} of ${items.length} classes`;
  };
  form.addEventListener("submit", event => { event.preventDefault(); show(); });
  form.addEventListener("input", show);
}

// ---------------------------------------------------------------- a class: heat maps, side by side
function heats() {
  const choose = byId("heats"), gallery = document.querySelector("[data-heat]");
  if (choose && gallery) choose.addEventListener("change", event => {
    const number = event.target.value;
    gallery.classList.toggle("greyed", number !== "0");
    for (const image of all(gallery, ".over")) {
      image.hidden = number === "0";
      if (number !== "0") { image.loading = "lazy"; image.src = `${gallery.dataset.heat}${number}/${image.dataset.row}.png`; }
    }
  });
  const beside = byId("beside");
  if (beside) beside.addEventListener("submit", event => {
    event.preventDefault();
    location.href = beside.dataset.base + beside.querySelector("select").value;
  });
}

// ---------------------------------------------------------------- parts that take a while, brought in place
function later() {
  for (const place of all(document, ".later")) {
    const link = place.querySelector("a");
    const bring = async () => {
      link.textContent = "Searching…";
      try {
        const text = await (await asked(place.dataset.part)).text();
        const part = new DOMParser().parseFromString(text, "text/html").getElementById("part");
        place.replaceChildren(...part.childNodes);
      } catch (error) { link.textContent = "This could not be searched"; }
    };
    link.addEventListener("click", event => { event.preventDefault(); bring(); });
  }
}

// ---------------------------------------------------------------- jobs
function job() {
  const place = byId("job");
  if (!place || ["done", "failed", "stopped"].includes(place.dataset.state)) return;
  const began = Date.now();
  const look = async () => {
    let found;
    try { found = await (await asked(place.dataset.job)).json(); }
    catch (error) {
      byId("state").textContent = "unreachable";
      byId("doing").textContent = "the explorer does not answer; it may have ended, or its store was removed";
      return setTimeout(look, 3000);
    }
    byId("state").textContent = found.state;
    byId("doing").textContent = found.doing + (found.total ? ` (${Math.round(100 * found.done / found.total)}%)` : "");
    byId("problem").textContent = found.problem;
    const bar = byId("progress");
    if (found.total) { bar.max = found.total; bar.value = found.done; } else bar.removeAttribute("value");
    byId("results").replaceChildren(...found.addresses.map(([said, address]) => {
      const item = document.createElement("li"), link = document.createElement("a");
      link.href = address; link.textContent = said; item.append(link);
      return item;
    }));
    bar.hidden = byId("stop").hidden = found.over;
    byId("resume").hidden = !["stopped", "failed"].includes(found.state);
    if (!found.over) return setTimeout(look, Date.now() - began < 5000 ? 300 : 1000);
    // who has watched it to its end wants to see what came of it
    if (found.state === "done" && found.addresses.length) location.href = found.addresses.at(-1)[1];
    else if (found.state === "done") location.href = "/";
  };
  look();
}

// ---------------------------------------------------------------- a concept, steered
const svg = (name, given, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

function steering() {
  const place = document.querySelector("[data-steer]");
  if (!place) return;
  const furthest = Number(place.dataset.furthest), target = Number(place.dataset.target);
  const on = byId("steered"), amount = byId("amount"), says = byId("says"), drawing = byId("curves"), picture = byId("steered-picture");
  const given = new URLSearchParams(location.search).get("of");
  if (given && [...on.options].every(one => one.value !== given)) on.add(new Option("this picture", given, true, true));
  else if (given) on.value = given;
  const grid = Array.from({length: 13}, (_, i) => -furthest + i * furthest / 6);
  let curves = null, band = null, now = null, turn = 0, waiting = false, busy = false;
  const address = (at, more = "") => `${place.dataset.steer}?of=${encodeURIComponent(on.value)}&at=${at.join(",")}${more}`;
  const x = at => 40 + (at + furthest) / (2 * furthest) * 440, y = score => 300 - 280 * score;
  const line = (at, scores) => at.map((step, i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(scores[i]).toFixed(1)}`).join("");
  const draw = () => {
    const parts = [];
    if (band) parts.push(svg("path", {class: "band", d: line(band.at, band.high) + line([...band.at].reverse(), [...band.low].reverse()).replace("M", "L") + "Z"}));
    for (const score of [0, 0.5, 1]) parts.push(svg("line", {x1: 40, x2: 480, y1: y(score), y2: y(score), class: "rule"}), svg("text", {x: 8, y: y(score) + 5}, score));
    for (const step of [-furthest, 0, furthest]) parts.push(svg("text", {x: x(step) - 8, y: 325}, step > 0 ? `+${step}` : step));
    let free = [];
    for (const [number, curve] of (curves ? curves.curves : []).entries()) {
      parts.push(svg("path", {class: `curve curve${number}${curve.index === target ? " mine" : ""}`, d: line(curves.at, curve.scores)}));
      let end = y(curve.scores.at(-1)) + 5;
      while (free.some(taken => Math.abs(taken - end) < 16)) end += end > 160 ? -4 : 4;
      free.push(end);
      parts.push(svg("text", {x: 486, y: end, class: `said curve${number}${curve.index === target ? " mine" : ""}`}, curve.name.length > 18 ? `${curve.name.slice(0, 17)}…` : curve.name));
    }
    parts.push(svg("line", {x1: x(Number(amount.value)), x2: x(Number(amount.value)), y1: 20, y2: 300, class: "hand"}));
    drawing.replaceChildren(...parts);
  };
  const tell = () => {
    byId("now").textContent = Number(amount.value) === 0 ? "nothing moved" : `moved by ${Number(amount.value) > 0 ? "+" : ""}${amount.value}`;
    const best = now.curves.map(curve => [curve.name, curve.scores[0], curve.index]).sort((a, b) => b[1] - a[1]).slice(0, 6);
    says.replaceChildren(...best.map(([name, score, index]) => {
      const item = document.createElement("li");
      if (index === target) item.className = "ours";
      const label = document.createElement("span"), track = document.createElement("span"), fill = document.createElement("span"), value = document.createElement("span");
      label.className = "name"; label.textContent = name; label.title = name;
      track.className = "track"; fill.className = "fill"; fill.style.width = `${100 * score}%`; track.append(fill);
      value.className = "number"; value.textContent = score.toFixed(2);
      item.append(label, track, value);
      return item;
    }));
  };
  const step = async () => {
    if (busy) { waiting = true; return; }
    busy = true;
    try { now = await (await asked(address([Number(amount.value)]))).json(); tell(); place.dataset.answered = amount.value; }
    catch (error) { byId("now").textContent = "the model could not be asked"; }
    busy = false;
    if (waiting) { waiting = false; step(); }
  };
  const start = async () => {
    const mine = ++turn;
    curves = band = null;
    const image = on.value.startsWith("pool:") ? `/pool/${on.value.slice(5)}.jpg` : on.value.startsWith("upload:") ? `/upload/${on.value.slice(7)}.png` : "";
    picture.hidden = !image;
    if (image) picture.src = image;
    await step();
    try {
      const found = await (await asked(address(grid))).json();
      if (mine !== turn) return;
      curves = found; draw();
      const random = await (await asked(address(grid.filter((_, i) => i % 2 === 0), "&band=1"))).json();
      if (mine !== turn) return;
      band = random; draw();
      byId("curves-told").textContent = `Steps are in mean lengths of the images' cells. Mean scores of ${found.images} image${found.images === 1 ? "" : "s"}; band: ${random.n} random directions on ${random.images}.`;
    } catch (error) { byId("curves-told").textContent = "The curves could not be computed."; }
  };
  amount.addEventListener("input", () => { draw(); step(); });
  on.addEventListener("change", start);
  draw();
  start();
}

// ---------------------------------------------------------------- a picture: drop one, draw a box on one
function dropping() {
  const form = byId("drop");
  if (!form) return;
  const input = byId("picture");
  for (const kind of ["dragover", "dragenter"]) form.addEventListener(kind, event => { event.preventDefault(); form.classList.add("over"); });
  form.addEventListener("dragleave", () => form.classList.remove("over"));
  form.addEventListener("drop", event => {
    event.preventDefault();
    form.classList.remove("over");
    if (event.dataTransfer.files.length) { input.files = event.dataTransfer.files; form.requestSubmit(); }
  });
}

function boxes() {
  const canvas = byId("canvas"), field = byId("box"), mark = byId("mark");
  if (!canvas || !field) return;
  const [width, height] = canvas.dataset.size.split(",").map(Number);
  const show = () => {
    const numbers = (field.value.match(/\d+/g) || []).map(Number);
    mark.hidden = numbers.length !== 4;
    if (mark.hidden) return;
    mark.style.left = `${100 * numbers[0] / width}%`; mark.style.top = `${100 * numbers[1] / height}%`;
    mark.style.width = `${100 * (numbers[2] - numbers[0]) / width}%`; mark.style.height = `${100 * (numbers[3] - numbers[1]) / height}%`;
  };
  field.addEventListener("input", show);
  let from = null;
  const at = event => {
    const frame = canvas.getBoundingClientRect();
    const inside = (value, most) => Math.max(0, Math.min(most, Math.round(value)));
    return [inside((event.clientX - frame.left) / frame.width * width, width), inside((event.clientY - frame.top) / frame.height * height, height)];
  };
  canvas.addEventListener("pointerdown", event => { from = at(event); canvas.setPointerCapture(event.pointerId); event.preventDefault(); });
  canvas.addEventListener("pointermove", event => {
    if (!from) return;
    const to = at(event);
    if (to[0] === from[0] || to[1] === from[1]) return;
    field.value = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])].join(", ");
    show();
  });
  canvas.addEventListener("pointerup", () => { from = null; });
  const target = byId("target"), name = byId("try-name");
  target.addEventListener("change", () => { name.textContent = target.selectedOptions[0].textContent; });
}

// ---------------------------------------------------------------- the map of concepts
function mapping() {
  const map = byId("map"), sheet = byId("sheet");
  if (!map) return;
  const zoom = byId("zoom"), dots = all(sheet, ".dot"), marked = new Set();
  const visible = () => {
    const frame = map.getBoundingClientRect();
    for (const dot of dots) {
      const place = dot.getBoundingClientRect();
      const near = Number(zoom.value) >= 2 && place.right > frame.left && place.left < frame.right && place.bottom > frame.top && place.top < frame.bottom;
      dot.classList.toggle("pictured", near && Boolean(dot.dataset.src));
      if (!near || !dot.dataset.src || dot.firstChild) continue;
      const image = document.createElement("img"), [part, parts] = dot.dataset.part.split(",").map(Number);
      image.src = dot.dataset.src; image.alt = ""; image.draggable = false;
      image.style.width = `${100 * parts}%`; image.style.marginLeft = `${-100 * part}%`;
      dot.append(image);
    }
  };
  const size = () => { sheet.style.width = sheet.style.height = `${100 * zoom.value}%`; visible(); };
  zoom.addEventListener("input", () => {
    const x = (map.scrollLeft + map.clientWidth / 2) / map.scrollWidth, y = (map.scrollTop + map.clientHeight / 2) / map.scrollHeight;
    size();
    map.scrollLeft = x * map.scrollWidth - map.clientWidth / 2; map.scrollTop = y * map.scrollHeight - map.clientHeight / 2;
  });
  map.addEventListener("scroll", visible);
  byId("map-words").addEventListener("input", event => {
    const text = event.target.value.trim().toLowerCase();
    for (const dot of dots) dot.classList.toggle("found", Boolean(text) && dot.dataset.text.includes(text));
  });
  const told = () => {
    byId("marked").textContent = marked.size;
    byId("keys").value = [...marked].map(dot => dot.dataset.key).join(",");
    byId("marked-list").replaceChildren(...[...marked].slice(0, 30).map(dot => { const item = document.createElement("li"); item.textContent = dot.title; return item; }));
    for (const dot of dots) dot.classList.toggle("marked", marked.has(dot));
  };
  let from = null, frame = null, moved = false;
  map.addEventListener("pointerdown", event => { from = event; moved = false; event.preventDefault(); });
  map.addEventListener("pointermove", event => {
    if (!from) return;
    if (event.altKey) { map.scrollLeft -= event.movementX; map.scrollTop -= event.movementY; moved = true; return; }
    if (Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) < 5) return;
    moved = true;
    frame ||= map.parentElement.appendChild(Object.assign(document.createElement("i"), {className: "lasso"}));
    Object.assign(frame.style, {left: `${Math.min(from.clientX, event.clientX)}px`, top: `${Math.min(from.clientY, event.clientY)}px`, width: `${Math.abs(event.clientX - from.clientX)}px`, height: `${Math.abs(event.clientY - from.clientY)}px`});
  });
  addEventListener("pointerup", event => {
    if (!from) return;
    if (frame) {
      const place = frame.getBoundingClientRect();
      marked.clear();
      for (const dot of dots) {
        const own = dot.getBoundingClientRect(), x = (own.left + own.right) / 2, y = (own.top + own.bottom) / 2;
        if (x >= place.left && x <= place.right && y >= place.top && y <= place.bottom) marked.add(dot);
      }
      frame.remove(); frame = null;
      told();
    }
    from = null;
  });
  map.addEventListener("click", event => { if (moved) { event.preventDefault(); moved = false; } });
  size();
}

for (const begin of [grid, heats, later, job, steering, dropping, boxes, mapping]) begin();
