"use strict";
// The stage of the viewer: layers with the same picture, the right one clipped at the divider; divider, zoom, moving.

// root: the element .viewer. onChange: called after the user has moved the divider or changed the zoom.
function createStage(root, onChange) {
  const stage = root.querySelector(".stage");
  const view = root.querySelector(".view");
  const slider = root.querySelector(".split");
  const zoomButtons = [...root.querySelectorAll("[data-zoom]")];
  const originalButton = root.querySelector(".original-button");
  const layers = Object.fromEntries([...view.querySelectorAll(".layer")].map((layer) => [layer.dataset.layer, layer]));
  let size = { width: 1, height: 1 };
  let zoom = "fit";
  let centre = { x: 0.5, y: 0.5 }; // what is in the middle of the view, as a fraction of the picture
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // Screen pixels for a pixel of the picture. Fitting enlarges small pictures by whole numbers only.
  function scale(room, tallest) {
    if (zoom !== "fit") return Number(zoom);
    const fitting = Math.min(room / size.width, tallest / size.height);
    return fitting > 1 ? Math.floor(fitting) : fitting;
  }

  function layout() {
    const room = stage.clientWidth;
    const share = window.innerWidth < 700 ? 0.65 : 0.8; // a phone needs room beside it to scroll the page
    const tallest = Math.max(240, share * window.innerHeight);
    const factor = scale(room, tallest);
    const [width, height] = [size.width * factor, size.height * factor];
    const [viewWidth, viewHeight] = [Math.min(width, room), Math.min(height, tallest)];
    view.style.width = `${viewWidth}px`;
    view.style.height = `${viewHeight}px`;
    view.classList.toggle("enlarged", width > viewWidth || height > viewHeight);
    centre.x = clamp(centre.x, viewWidth / 2 / width, 1 - viewWidth / 2 / width);
    centre.y = clamp(centre.y, viewHeight / 2 / height, 1 - viewHeight / 2 / height);
    const [left, top] = [viewWidth / 2 - centre.x * width, viewHeight / 2 - centre.y * height];
    for (const image of view.querySelectorAll("img")) {
      image.style.width = `${width}px`;
      image.style.height = `${height}px`;
      image.style.transform = `translate(${left}px, ${top}px)`;
      image.classList.toggle("enlarged", factor >= 2);
    }
    return { width, height };
  }

  function move(right, down) {
    const { width, height } = layout();
    centre = { x: centre.x - right / width, y: centre.y - down / height };
    layout();
  }

  function setSplit(percent) {
    const value = clamp(Math.round(10 * percent) / 10, 0, 100);
    slider.value = value;
    view.style.setProperty("--split", `${value}%`);
    slider.setAttribute("aria-valuetext", `${Math.round(value)} % left, ${Math.round(100 - value)} % right`);
    return value;
  }

  function setZoom(wanted) {
    zoom = zoomButtons.some((button) => button.dataset.zoom === wanted) ? wanted : "fit";
    for (const button of zoomButtons) button.setAttribute("aria-pressed", String(button.dataset.zoom === zoom));
    layout();
  }

  function setOriginal(isShown) {
    originalButton.setAttribute("aria-pressed", String(isShown));
    layers.original.hidden = !isShown;
    view.classList.toggle("whole", isShown);
    const image = layers.original.querySelector("img");
    if (isShown && image.getAttribute("src") !== image.dataset.source) image.src = image.dataset.source;
  }

  // Everywhere on a whole picture, and near the divider on an enlarged one, a drag moves the divider.
  function startDrag(event) {
    if (event.button !== 0) return;
    const box = view.getBoundingClientRect();
    const divider = box.left + (box.width * split) / 100;
    const movesDivider = !view.classList.contains("enlarged") || Math.abs(event.clientX - divider) < 24;
    let last = { x: event.clientX, y: event.clientY };
    const drag = (moved) => {
      if (movesDivider) split = setSplit((100 * (moved.clientX - box.left)) / box.width);
      else move(moved.clientX - last.x, moved.clientY - last.y);
      last = { x: moved.clientX, y: moved.clientY };
    };
    const stop = (ended) => {
      if (movesDivider && ended.type === "pointerup") drag(ended);
      view.removeEventListener("pointermove", drag);
      for (const name of ["pointerup", "pointercancel"]) view.removeEventListener(name, stop);
      onChange();
    };
    view.setPointerCapture(event.pointerId);
    view.addEventListener("pointermove", drag);
    for (const name of ["pointerup", "pointercancel"]) view.addEventListener(name, stop);
    if (movesDivider && event.pointerType === "mouse") drag(event); // a finger may be about to scroll the page
    slider.focus({ preventScroll: true });
    event.preventDefault();
  }

  function moveByKey(event) {
    const steps = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!event.shiftKey || !steps) return;
    move((steps[0] * view.clientWidth) / 8, (steps[1] * view.clientHeight) / 8);
    event.preventDefault();
  }

  // source: a URL, loaded now; that of the original is loaded when it is shown. text: for the corner of the layer.
  function show(name, source, text, title) {
    const image = layers[name].querySelector("img");
    const chip = layers[name].querySelector(".chip");
    image.dataset.source = source;
    image.alt = text;
    chip.textContent = text;
    chip.title = title;
    if (name === "original" && layers.original.hidden) return;
    if (image.getAttribute("src") !== source) image.src = source;
  }

  function tellWhenMissing(layer) {
    const image = layer.querySelector("img");
    const text = layer.querySelector(".missing");
    const tell = (isMissing) => {
      text.hidden = !isMissing;
      image.hidden = isMissing;
      text.textContent = isMissing ? `${image.getAttribute("src").slice(0, 200)} cannot be loaded` : "";
    };
    image.addEventListener("error", () => tell(true));
    image.addEventListener("load", () => tell(false));
  }

  let split = setSplit(50);
  Object.values(layers).forEach(tellWhenMissing);
  view.addEventListener("pointerdown", startDrag);
  slider.addEventListener("keydown", moveByKey);
  slider.addEventListener("input", () => {
    split = setSplit(Number(slider.value));
    onChange();
  });
  for (const button of zoomButtons) {
    button.addEventListener("click", () => {
      setZoom(button.dataset.zoom);
      onChange();
    });
  }
  originalButton.addEventListener("click", () => setOriginal(layers.original.hidden));
  new ResizeObserver(layout).observe(stage);
  window.addEventListener("resize", layout);

  return {
    show,
    resize(width, height) {
      if (width !== size.width || height !== size.height) centre = { x: 0.5, y: 0.5 };
      size = { width, height };
      layout();
    },
    get split() { return split; },
    set split(percent) { split = setSplit(percent); },
    get zoom() { return zoom; },
    set zoom(wanted) { setZoom(wanted); },
  };
}
