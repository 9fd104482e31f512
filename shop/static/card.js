// The legacy card page: Stripe's card field makes a token, the form carries it to the shop.
// https://docs.stripe.com/js/tokens/create_token?type=cardElement
(() => {
  "use strict";
  const PATIENCE = 10000;
  const form = document.getElementById("card-form");
  const error = document.getElementById("card-error");
  const button = document.getElementById("card-pay");
  const missing = document.getElementById("card-missing");
  let stripe, card;

  function showField() {
    stripe = window.Stripe(form.dataset.key, { locale: form.dataset.language });
    // Stripe's field is a frame: it knows nothing of the shop's colours unless it is told.
    const style = getComputedStyle(document.getElementById("email"));
    const base = { color: style.color, fontSize: style.fontSize };
    card = stripe.elements().create("card", { hidePostalCode: true, style: { base } });
    // Where its frame is blocked the field never gets ready, and nothing else tells of it.
    const late = setTimeout(() => { missing.hidden = false; }, PATIENCE);
    card.on("ready", () => {
      clearTimeout(late);
      missing.hidden = true;
    });
    card.on("change", (event) => {
      error.textContent = event.error ? event.error.message : "";
    });
    card.mount("#card-element");
  }

  try {
    showField();
  } catch (reason) {
    // The script is missing or blocked, or refuses the key.
    console.warn("Stripe's card field:", reason);
    missing.hidden = false;
    form.hidden = true;
    document.getElementById("card-instead").className = "btn btn-primary";
    return;
  }
  button.disabled = false;

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const unsent = { error: { message: form.dataset.unsent } };
    const result = await stripe.createToken(card).catch(() => unsent);
    if (result.error) {
      error.textContent = result.error.message;
      button.disabled = false;
      return;
    }
    form.elements.stripeToken.value = result.token.id;
    form.submit();
  });
})();
