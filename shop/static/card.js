// The legacy card page: Stripe's card field makes a token, the form carries it to the shop.
// https://docs.stripe.com/js/tokens/create_token?type=cardElement
(() => {
  "use strict";
  const form = document.getElementById("card-form");
  const error = document.getElementById("card-error");
  const button = document.getElementById("card-pay");
  if (!window.Stripe) return;

  const stripe = window.Stripe(form.dataset.key, { locale: form.dataset.language });
  // Stripe's field is a frame: it knows nothing of the shop's colours unless it is told.
  const style = getComputedStyle(document.getElementById("email"));
  const base = { color: style.color, fontSize: style.fontSize };
  const card = stripe.elements().create("card", { hidePostalCode: true, style: { base } });
  card.mount("#card-element");
  card.on("change", (event) => {
    error.textContent = event.error ? event.error.message : "";
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const result = await stripe.createToken(card);
    if (result.error) {
      error.textContent = result.error.message;
      button.disabled = false;
      return;
    }
    form.elements.stripeToken.value = result.token.id;
    form.submit();
  });
})();
