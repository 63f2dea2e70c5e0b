// The page of a replay in progress: updates its numbers without moving the page.
// Without scripts the page is reloaded instead.
"use strict";

(() => {
    const EVERY_MS = 3000;
    const UNDER_WAY = "[data-nateq-under-way]";
    const NUMBERS = "#nateq-numbers, .readonly";

    const fetched = async () => {
        try {
            const answer = await fetch(location.href);
            return answer.ok && !answer.redirected ? await answer.text() : "";
        } catch {
            return "";
        }
    };

    const follow = async () => {
        const text = await fetched();
        if (text) {
            const now = new DOMParser().parseFromString(text, "text/html");
            if (!now.querySelector(UNDER_WAY)) {
                location.reload();
                return;
            }
            const numbers = now.querySelectorAll(NUMBERS);
            document.querySelectorAll(NUMBERS).forEach((one, index) => {
                if (numbers[index]) {
                    one.replaceWith(numbers[index]);
                }
            });
        }
        setTimeout(follow, EVERY_MS);
    };

    if (document.querySelector(UNDER_WAY)) {
        setTimeout(follow, EVERY_MS);
    }
})();
