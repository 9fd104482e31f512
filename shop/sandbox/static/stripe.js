// A drop-in for Stripe.js as far as a card token needs it: Stripe(key).elements().create("card"),
// mount, on, focus, clear, destroy, and createToken. It speaks with the sandbox that served it.
(() => {
  "use strict";
  const api = new URL("v1/tokens", document.currentScript.src).href;
  const FIELDS = [
    { name: "number", autocomplete: "cc-number", placeholder: "4242 4242 4242 4242", en: "Card number", ja: "カード番号" },
    { name: "expiry", autocomplete: "cc-exp", placeholder: "MM/YY", en: "Expiry", ja: "有効期限" },
    { name: "cvc", autocomplete: "cc-csc", placeholder: "CVC", en: "Security code", ja: "セキュリティコード" },
  ];
  const INCOMPLETE = {
    en: "Your card details are incomplete.",
    ja: "カード情報に入力もれがあります。",
  };

  class CardElement {
    constructor(language) {
      this.language = language === "ja" ? "ja" : "en";
      this.handlers = {};
      this.inputs = {};
    }

    mount(target) {
      this.box = typeof target === "string" ? document.querySelector(target) : target;
      for (const field of FIELDS) this.box.append(this.build(field));
      this.emit("ready", {});
    }

    build(field) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      label.textContent = field[this.language];
      input.className = "form-control";
      input.inputMode = "numeric";
      input.autocomplete = field.autocomplete;
      input.placeholder = field.placeholder;
      input.dataset.card = field.name;
      input.addEventListener("input", () => this.emit("change", this.state()));
      label.append(input);
      this.inputs[field.name] = input;
      return label;
    }

    state() {
      const complete = FIELDS.every((field) => this.inputs[field.name].value.trim());
      const empty = FIELDS.every((field) => !this.inputs[field.name].value);
      return { elementType: "card", complete, empty, error: undefined };
    }

    on(name, handler) {
      (this.handlers[name] ||= []).push(handler);
      return this;
    }

    emit(name, event) {
      for (const handler of this.handlers[name] || []) handler(event);
    }

    focus() { this.inputs.number.focus(); }
    clear() { for (const input of Object.values(this.inputs)) input.value = ""; }
    unmount() { this.box.replaceChildren(); }
    destroy() { this.unmount(); }
    update() {}
  }

  async function createToken(key, card) {
    if (!card.state().complete) {
      const message = INCOMPLETE[card.language];
      return { error: { type: "validation_error", code: "incomplete_number", message } };
    }
    const [month, year] = card.inputs.expiry.value.split("/").map((part) => part.trim());
    const body = new URLSearchParams({
      "card[number]": card.inputs.number.value,
      "card[exp_month]": month,
      "card[exp_year]": year || "",
      "card[cvc]": card.inputs.cvc.value.trim(),
    });
    const headers = { Authorization: `Bearer ${key}` };
    const answer = await fetch(api, { method: "POST", headers, body });
    const result = await answer.json();
    return answer.ok ? { token: result } : { error: result.error };
  }

  window.Stripe = (key, options = {}) => ({
    elements: (more = {}) => ({
      create: () => new CardElement(more.locale || options.locale || document.documentElement.lang),
    }),
    createToken: (card) => createToken(key, card),
  });
})();
