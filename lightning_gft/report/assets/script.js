// Sample groups: filters, order, and tokens in colour. Text is only ever set as text, never as markup.
"use strict";

(() => {
  const section = document.getElementById("samples");
  const controls = section?.querySelector(".controls");
  if (!controls) return;

  const PAGE = 20; // groups that are shown at once
  const list = section.querySelector(".groups");
  const groups = [...list.children];
  const more = section.querySelector(".more");
  const status = controls.querySelector("[role=status]");
  let shown = PAGE;

  // Filters and order

  const chosen = (name) => controls.elements[name]?.value ?? "";

  function matches(response) {
    const { run, source, rectified } = response.dataset;
    return (
      (!chosen("run") || run === chosen("run")) &&
      (!chosen("source") || source === chosen("source")) &&
      (!controls.elements.rectified.checked || rectified !== "0")
    );
  }

  // Hides what does not match, and returns whether anything of the group is left.
  function filter(group) {
    let left = false;
    for (const column of group.querySelectorAll(".of-run")) {
      const responses = [...column.querySelectorAll(".response")];
      for (const response of responses) response.hidden = !matches(response);
      column.hidden = responses.every((response) => response.hidden);
      left ||= !column.hidden;
    }
    return left && (!chosen("kind") || group.dataset.kind === chosen("kind"));
  }

  function order() {
    const key = chosen("order").replace("-", "");
    const sign = chosen("order").startsWith("-") ? -1 : 1;
    // A group without the figure comes last in either order.
    const value = (group) => (Number.isNaN(+group.dataset[key]) ? Infinity : sign * +group.dataset[key]);
    list.append(...groups.sort((a, b) => value(a) - value(b) || a.dataset.step - b.dataset.step));
  }

  function show() {
    const matching = groups.filter(filter);
    for (const group of groups) group.hidden = true;
    for (const group of matching.slice(0, shown)) group.hidden = false;
    more.hidden = matching.length <= shown;
    status.textContent = `${Math.min(shown, matching.length)} of ${matching.length} matching groups shown`;
  }

  controls.addEventListener("change", ({ target }) => {
    if (target.name === "colour") {
      section.dataset.colour = target.value;
      return;
    }
    if (target.name === "order") order();
    shown = PAGE;
    show();
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = groups.filter((group) => !group.hidden).length;
    shown += PAGE;
    show();
    groups.filter((group) => !group.hidden)[first]?.querySelector("summary").focus();
  });

  // Tokens: columns of numbers beside the text, or one number where all tokens have the same

  const at = (column, place) => (Array.isArray(column) ? column[place] : column);

  function figuresOf(columns, place) {
    const nll = at(columns.nll, place);
    const factor = at(columns.factor, place);
    const probability = nll === null ? null : Math.exp(-nll / 1000);
    const scaled = factor === null || columns.scale === null ? null : columns.scale * factor;
    const entropy = at(columns.entropy, place);
    return {
      probability,
      factor,
      before: probability && 1 / probability,
      after: factor === null ? null : probability && Math.abs(factor) / probability,
      coefficient: at(columns.coefficient, place) ?? scaled,
      entropy: entropy === null ? null : entropy / 100,
      rectified: factor !== null && factor !== 1,
    };
  }

  // The bounds that the legend names.
  function classesOf({ coefficient, probability, rectified }) {
    const classes = ["t"];
    if (coefficient !== null) {
      const size = [0.03, 0.3, 1, 2].filter((bound) => Math.abs(coefficient) >= bound).length;
      classes.push(`c${Math.sign(coefficient) * size}`);
    }
    if (probability !== null) classes.push(`p${[0.9, 0.5, 0.1, 0.01].filter((bound) => probability < bound).length}`);
    if (rectified) classes.push("rectified");
    return classes.join(" ");
  }

  const drawn = new WeakMap(); // figures by token

  function draw(text) {
    const columns = JSON.parse(text.nextElementSibling.textContent);
    const whole = text.textContent;
    const tokens = document.createDocumentFragment();
    let end = 0;
    for (let place = 0; place < columns.tokens; place++) {
      const token = document.createElement("span");
      const figures = figuresOf(columns, place);
      token.textContent = whole.slice(end, (end += at(columns.length, place)));
      token.className = classesOf(figures);
      token.tabIndex = place ? -1 : 0; // one stop for Tab, within which the arrow keys move
      drawn.set(token, figures);
      tokens.append(token);
    }
    tokens.append(whole.slice(end));
    text.replaceChildren(tokens);
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", "Tokens, arrow keys move between them");
    text.dataset.drawn = "";
  }

  const drawAll = (group) => group.querySelectorAll(".tokens:not([data-drawn])").forEach(draw);

  list.addEventListener("toggle", ({ target }) => target.open && drawAll(target), true);
  addEventListener("beforeprint", () => groups.filter((group) => !group.hidden).forEach(drawAll));

  // Figures of the token under the pointer or with the focus

  const panel = document.createElement("div");
  panel.className = "figures";
  panel.id = "token-figures";
  panel.setAttribute("role", "tooltip");
  panel.hidden = true;
  section.append(panel);

  function written(number) {
    if (number === null || number === undefined) return "–";
    const size = Math.abs(number);
    if (size && (size < 0.001 || size >= 100000)) return number.toExponential(2);
    return Number(number.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
  }

  function rowsOf(token) {
    const { probability, before, after, factor, coefficient, entropy, rectified } = drawn.get(token);
    return [
      ["token", token.textContent.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥")],
      ["probability p", written(probability)],
      ["weight before, 1/p", written(before)],
      ["weight after", written(after)],
      [rectified ? "factor, rectified" : "factor", written(factor)],
      ["coefficient", written(coefficient)],
      ["entropy (nats)", written(entropy)],
    ];
  }

  function point(token) {
    const rows = document.createElement("dl");
    for (const [name, value] of rowsOf(token)) {
      const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      detail.textContent = value;
      detail.dir = "auto";
      rows.append(term, detail);
    }
    panel.replaceChildren(rows);
    panel.hidden = false;
    token.setAttribute("aria-describedby", panel.id);
    const { left, top, bottom } = token.getBoundingClientRect();
    const below = bottom + panel.offsetHeight + 8 <= innerHeight;
    panel.style.left = `${Math.max(8, Math.min(left, innerWidth - panel.offsetWidth - 8))}px`;
    panel.style.top = `${below ? bottom + 6 : Math.max(8, top - panel.offsetHeight - 6)}px`;
  }

  const tokenOf = ({ target }) => (drawn.has(target) ? target : null);

  // The token with the focus, or none.
  function rest() {
    if (drawn.has(document.activeElement)) point(document.activeElement);
    else panel.hidden = true;
  }

  function leave(event) {
    const token = tokenOf(event);
    if (!token) return;
    token.removeAttribute("aria-describedby");
    rest();
  }

  for (const kind of ["mouseover", "focusin"]) {
    list.addEventListener(kind, (event) => tokenOf(event) && point(event.target));
  }
  for (const kind of ["mouseout", "focusout"]) list.addEventListener(kind, leave);
  addEventListener("scroll", () => panel.hidden || rest(), { capture: true, passive: true });

  list.addEventListener("keydown", (event) => {
    const token = tokenOf(event);
    if (!token) return;
    if (event.key === "Escape") panel.hidden = true;
    const all = token.parentElement.children;
    const next = {
      ArrowRight: token.nextElementSibling,
      ArrowLeft: token.previousElementSibling,
      Home: all[0],
      End: all[all.length - 1],
    }[event.key];
    if (!next) return;
    event.preventDefault();
    token.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  // Without this script the controls would do nothing, so they are hidden until here.
  controls.reset(); // browsers keep what was chosen over a reload
  section.dataset.colour = chosen("colour");
  controls.hidden = false;
  section.querySelector(".legend").hidden = false;
  show();
})();
