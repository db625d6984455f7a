"use strict";
// The viewer: which picture, codec and setting is shown on which side, and its numbers.
// vqcodec.benchmarks.pages.viewer.viewer_values makes what #viewer-data holds.
{
  const root = document.querySelector(".viewer");
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const SIDES = ["left", "right"];
  const ORIGINAL = ""; // in the place of a codec's name
  const labels = new Map([[ORIGINAL, "Original"], ...data.codecs.map((codec) => [codec.name, codec.label])]);
  const thousands = new Intl.NumberFormat("en-GB");
  const stage = createStage(root, keepInAddress);
  const other = (side) => (side === "left" ? "right" : "left");
  const find = (selector, side) => root.querySelector(`${selector}[data-side="${side}"]`);

  // chosen: the user picked this setting, so nothing else changes it
  const state = { picture: 0, left: { codec: ORIGINAL, setting: "", chosen: false }, right: { codec: ORIGINAL, setting: "", chosen: false } };

  // What a codec has of the picture in view, from the smallest file to the largest.
  function entriesOf(codec) {
    const picture = data.pictures[state.picture];
    if (codec === ORIGINAL) {
      const rate = picture.bytes === null ? null : ((8 * picture.bytes) / (picture.width * picture.height)).toFixed(4);
      return [{ setting: "", bytes: picture.bytes, rate, values: data.higher.map(() => null), source: picture.original }];
    }
    return picture.shown
      .filter(([number]) => data.codecs[number].name === codec)
      .map(([, setting, bytes, rate, values, source]) => ({ setting, bytes, rate, values, source }));
  }

  function entryOf(side) {
    const entries = entriesOf(state[side].codec);
    return entries.find((entry) => entry.setting === state[side].setting) ?? entries[0];
  }

  const codecsHere = () => [ORIGINAL, ...data.codecs.map((codec) => codec.name)].filter((name) => entriesOf(name).length);

  // Gives a side the setting nearest in bytes to the other side, unless it has one that the user chose, or may keep its own.
  function settle(side, mayKeep) {
    const own = state[side];
    if (!codecsHere().includes(own.codec)) Object.assign(own, { codec: codecsHere()[1] ?? ORIGINAL, setting: "", chosen: false });
    const entries = entriesOf(own.codec);
    const isHere = entries.some((entry) => entry.setting === own.setting);
    if (isHere && (mayKeep || own.chosen)) return;
    const target = entryOf(other(side))?.bytes ?? null;
    const distance = (entry) => (target === null ? 0 : Math.abs(entry.bytes - target));
    own.setting = entries.reduce((best, entry) => (distance(entry) < distance(best) ? entry : best)).setting;
    own.chosen = false;
  }

  function choosePicture(number) {
    state.picture = number;
    settle("left", true);
    settle("right", false);
  }

  function chooseCodec(side, codec) {
    Object.assign(state[side], { codec, chosen: false });
    settle(side, false);
  }

  function chooseSetting(side, setting) {
    Object.assign(state[side], { setting, chosen: true });
    settle(other(side), false);
  }

  function swap() {
    [state.left, state.right] = [state.right, state.left];
  }

  // ---- what is seen ----

  function draw() {
    const picture = data.pictures[state.picture];
    root.querySelector(".picture-name").textContent = `${picture.name}, ${picture.width} × ${picture.height}`;
    const radio = root.querySelectorAll(".thumb input")[state.picture];
    radio.checked = true;
    revealInStrip(radio.parentElement);
    for (const side of SIDES) drawSide(side);
    drawNumbers();
    stage.show("original", picture.original, "Original", "");
    stage.resize(picture.width, picture.height);
  }

  // scrollIntoView would scroll the page, too
  function revealInStrip(thumb) {
    const strip = thumb.parentElement;
    const left = thumb.offsetLeft - strip.offsetLeft;
    if (left < strip.scrollLeft || left + thumb.offsetWidth > strip.scrollLeft + strip.clientWidth) {
      strip.scrollLeft = left - strip.clientWidth / 2;
    }
  }

  function drawSide(side) {
    const { codec, setting } = state[side];
    const entries = entriesOf(codec);
    fill(find(".codec", side), codecsHere().map((name) => [name, labels.get(name), name]), codec);
    fill(find(".setting", side), entries.map((entry) => [entry.setting, entry.setting, bytesOf(entry)]), setting);
    find(".setting", side).hidden = entries.length === 1 && !setting;
    find(".setting", side).disabled = entries.length === 1;
    find(".codec", side).title = codec;
    stage.show(side, entryOf(side).source, [labels.get(codec), setting].filter(Boolean).join(", "), codec);
  }

  const bytesOf = (entry) => (entry.bytes === null ? "" : `${thousands.format(entry.bytes)} bytes`);

  function fill(select, options, value) {
    select.replaceChildren(
      ...options.map(([own, text, title]) => {
        const option = new Option(text, own, false, own === value);
        option.title = title;
        return option;
      }),
    );
  }

  function drawNumbers() {
    const entries = SIDES.map(entryOf);
    const columns = entries.map(({ bytes, rate, values }) => [bytes, rate, ...values]);
    const higher = [false, false, ...data.higher];
    const isBetter = (row, own, opposite) => {
      const [mine, others] = [asNumber(columns[own][row]), asNumber(columns[opposite][row])];
      return mine !== null && others !== null && (higher[row] ? mine > others : mine < others);
    };
    SIDES.forEach((side, column) => {
      root.querySelectorAll(`.numbers td[data-side="${side}"]`).forEach((cell, row) => {
        const value = columns[column][row];
        cell.textContent = value === null ? "–" : row === 0 ? thousands.format(value) : value;
        cell.classList.toggle("better", isBetter(row, column, 1 - column));
      });
    });
  }

  const asNumber = (text) => (text === null ? null : text === "∞" ? Infinity : Number(String(text).replace("−", "-")));

  // ---- the view in the address, for links ----

  function keepInAddress() {
    const values = new URLSearchParams({ picture: data.pictures[state.picture].name });
    for (const side of SIDES) {
      values.set(side, state[side].codec);
      values.set(`${side}-setting`, state[side].setting);
    }
    values.set("split", stage.split);
    values.set("zoom", stage.zoom);
    history.replaceState(null, "", `#${values}`);
  }

  function readAddress() {
    const values = new URLSearchParams(location.hash.slice(1));
    const number = data.pictures.findIndex((picture) => picture.name === values.get("picture"));
    if (number < 0) return false;
    state.picture = number;
    for (const side of SIDES) {
      const [codec, setting] = [values.get(side), values.get(`${side}-setting`)];
      if (codec !== null && codecsHere().includes(codec)) Object.assign(state[side], { codec, setting, chosen: false });
    }
    for (const side of SIDES) settle(side, true);
    if (values.has("split")) stage.split = Number(values.get("split")) || 0;
    if (values.has("zoom")) stage.zoom = values.get("zoom");
    return true;
  }

  function change(action) {
    action();
    draw();
    keepInAddress();
  }

  data.first.forEach((shown, number) => {
    if (shown) Object.assign(state[SIDES[number]], { codec: shown[0], setting: shown[1] });
  });
  readAddress();
  draw();
  root.querySelector(".strip").addEventListener("change", (event) => change(() => choosePicture(Number(event.target.value))));
  root.querySelector(".swap").addEventListener("click", () => change(swap));
  for (const side of SIDES) {
    find(".codec", side).addEventListener("change", (event) => change(() => chooseCodec(side, event.target.value)));
    find(".setting", side).addEventListener("change", (event) => change(() => chooseSetting(side, event.target.value)));
  }
  window.addEventListener("hashchange", () => readAddress() && draw());
}
