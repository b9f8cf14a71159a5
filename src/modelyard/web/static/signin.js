// The link was opened by a person in a browser, not by a program that looks ahead: use it.
document.querySelector("[data-sign-in]").submit();
