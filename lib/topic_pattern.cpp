#include <leat/flow/topic_pattern.hpp>

#include <leat/error.hpp>

#include <string>

namespace leat {
namespace {

/// The words of a text, one by one. An empty text is one empty word.
class words {
public:
    words(std::string_view text, char separator) noexcept : rest_{text}, separator_{separator}
    {
    }
    bool at_end() const noexcept
    {
        return ended_;
    }
    std::string_view word() const noexcept
    {
        return rest_.substr(0, rest_.find(separator_));
    }
    void next() noexcept
    {
        const std::size_t end = rest_.find(separator_);
        ended_ = end == std::string_view::npos;
        if (!ended_)
            rest_.remove_prefix(end + 1);
    }

private:
    std::string_view rest_;
    char separator_;
    bool ended_ = false;
};

}  // namespace

topic_pattern::topic_pattern(std::string_view pattern, char separator) : text_{pattern}, separator_{separator}
{
    for (words each{text_, separator_}; !each.at_end(); each.next()) {
        const std::string_view word = each.word();
        if (word.size() > 1 && word.find_first_of("*#") != std::string_view::npos)
            throw usage_error{"leat: the wildcards of a topic_pattern stand for whole words, and \"" +
                              std::string{word} + "\" is not one"};
    }
}

// As for file names: when a word does not fit, the last `#` takes one word more. What an earlier one could take instead,
// the last could too.
bool topic_pattern::matches(std::string_view topic) const noexcept
{
    words wanted{text_, separator_};
    words has{topic, separator_};
    words wanted_again = wanted;
    words has_again = has;
    bool can_go_back = false;
    for (;;) {
        if (!wanted.at_end() && wanted.word() == "#") {
            wanted.next();
            wanted_again = wanted;
            has_again = has;
            can_go_back = true;
            continue;
        }
        if (!wanted.at_end() && !has.at_end() && (wanted.word() == "*" || wanted.word() == has.word())) {
            wanted.next();
            has.next();
            continue;
        }
        if (wanted.at_end() && has.at_end())
            return true;
        if (!can_go_back || has_again.at_end())
            return false;
        has_again.next();
        wanted = wanted_again;
        has = has_again;
    }
}

}  // namespace leat
