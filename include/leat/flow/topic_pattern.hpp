#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace leat {

/// A pattern of topics that are words with a separator between them, as in message brokers: `*` stands for exactly one
/// word, `#` for any number of words, none included. So "orders.*.created" has "orders.eu.created", and "orders.#" has
/// "orders", "orders.eu" and "orders.eu.created".
///
/// Both stand for whole words only. A word may be empty.
class topic_pattern {
public:
    /// Throws  usage_error: a `*` or `#` is part of a longer word; std::bad_alloc.
    explicit topic_pattern(std::string_view pattern, char separator = '.');

    /// Cost  the length of both, unless the pattern has several `#`: then at most their product.
    [[nodiscard]] bool matches(std::string_view topic) const noexcept;

    const std::string& text() const noexcept
    {
        return text_;
    }
    char separator() const noexcept
    {
        return separator_;
    }

private:
    std::string text_;
    char separator_;
};

}  // namespace leat
