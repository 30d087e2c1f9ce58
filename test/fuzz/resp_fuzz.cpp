// mini_redis's parser: whatever arrives, in whatever pieces, it gives the same requests or the same complaint; and what it
// gives, written as a request, is read as the same.
//
// The first byte of an input says how large the pieces are, the rest arrives.
#include "../../samples/mini_redis/reply.hpp"
#include "../../samples/mini_redis/resp.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace {

using namespace mini_redis;

// Small, so that they are met.
constexpr request_limits limits{64, 256, 1024, 512};

struct outcome {
    std::vector<std::vector<std::string>> requests;
    std::string complaint;
    std::uint64_t consumed = 0;
    bool operator==(const outcome&) const = default;
};

outcome parse(std::string_view bytes, std::size_t piece)
{
    request_parser parser{limits};
    outcome got;
    const std::size_t size = bytes.size();
    try {
        while (!bytes.empty()) {
            const std::span<char> room = parser.room();
            fuzz::expect(!room.empty(), "no room");
            const std::size_t count = std::min({piece, room.size(), bytes.size()});
            std::copy_n(bytes.begin(), count, room.begin());
            parser.filled(count);
            bytes.remove_prefix(count);
            for (arguments words = parser.next(); !words.empty(); words = parser.next())
                got.requests.emplace_back(words.begin(), words.end());
        }
        fuzz::expect(parser.in_the_middle() || parser.consumed() == size, "bytes have got lost");
    } catch (const protocol_error& problem) {
        got.complaint = problem.what();
    }
    got.consumed = parser.consumed();
    fuzz::expect(got.consumed <= size, "more was consumed than had come");
    return got;
}

}  // namespace

void fuzz::one_input(std::string_view input)
{
    if (input.empty())
        return;
    const std::size_t piece = 1 + static_cast<unsigned char>(input[0]) % 40U;
    input.remove_prefix(1);
    const outcome whole = parse(input, input.size());
    expect(parse(input, piece) == whole, "pieces make a difference");
    std::string again;
    for (const std::vector<std::string>& words : whole.requests) {
        expect(words.size() <= limits.max_inline, "more words than anybody may send");
        const std::vector<std::string_view> views{words.begin(), words.end()};
        again += encode_request(views);
    }
    request_parser second;
    while (!again.empty()) {
        const std::span<char> room = second.room();
        const std::size_t count = std::min(room.size(), again.size());
        std::copy_n(again.begin(), count, room.begin());
        second.filled(count);
        again.erase(0, count);
    }
    for (const std::vector<std::string>& words : whole.requests) {
        const arguments read = second.next();
        expect(std::equal(read.begin(), read.end(), words.begin(), words.end()),
               "it was read as something else");
    }
    expect(second.next().empty() && !second.in_the_middle(), "there is more");
}
