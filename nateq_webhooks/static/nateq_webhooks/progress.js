// The page of a replay in progress: updates its numbers without moving the page.
// Without scripts the page is reloaded instead.
"use strict";

(() => {
    const UNDER_WAY = "[data-nateq-under-way]";
    const NUMBERS = "#nateq-numbers, .readonly";

    // The page says how often: what takes long to count is asked for less often.
    const pause = (page) => 1000 * Number(page.querySelector(UNDER_WAY).dataset.nateqUnderWay);

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
        let wait = pause(document);
        if (text) {
            const now = new DOMParser().parseFromString(text, "text/html");
            if (!now.querySelector(UNDER_WAY)) {
                location.reload();
                return;
            }
            wait = pause(now);
            const numbers = now.querySelectorAll(NUMBERS);
            document.querySelectorAll(NUMBERS).forEach((one, index) => {
                if (numbers[index]) {
                    one.replaceWith(numbers[index]);
                }
            });
        }
        setTimeout(follow, wait);
    };

    if (document.querySelector(UNDER_WAY)) {
        setTimeout(follow, pause(document));
    }
})();
