// http_hello's parser: whatever arrives, in whatever pieces, it gives the same requests, and what is refused in one
// piece is not accepted in several. What it does not take stays, as it does in the connection, whose buffer has an end.
//
// The first byte of an input says how large the pieces are, the rest arrives.
#include "../../samples/http_hello/request.hpp"
#include "fuzz.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace {

using namespace http_hello;

struct outcome {
    std::vector<std::string> requests;
    bool refused = false;
    bool in_the_middle = false;
};

outcome parse(std::string_view bytes, std::size_t piece)
{
    // Headers are shorter: where exactly that limit lies depends on the pieces, says Beast.
    constexpr request_limits limits{4096, 1024};
    request_parser parser{limits};
    outcome got;
    std::string arrived;
    try {
        while (!bytes.empty()) {
            arrived += bytes.substr(0, piece);
            bytes.remove_prefix(std::min(piece, bytes.size()));
            for (;;) {
                const std::size_t taken = parser.put(arrived);
                fuzz::expect(taken <= arrived.size(), "more was taken than had come");
                arrived.erase(0, taken);
                const request& is = parser.current();
                if (parser.is_whole()) {
                    fuzz::expect(parser.begun() && parser.has_header(), "whole, but without a header");
                    fuzz::expect(is.body.size() <= limits.max_body, "a body that is too large");
                    got.requests.push_back(is.method + " " + is.target + " " + is.body +
                                           (is.keep_alive ? " k" : "") + (is.expects_continue ? " c" : ""));
                    parser.restart();
                } else if (taken == 0) {
                    break;
                }
                if (arrived.empty())
                    break;
            }
        }
        got.in_the_middle = !arrived.empty() || parser.begun();
    } catch (const bad_request&) {
        got.refused = true;
    }
    return got;
}

}  // namespace

void fuzz::one_input(std::string_view input)
{
    if (input.empty())
        return;
    const std::size_t piece = 1 + static_cast<unsigned char>(input[0]) % 40U;
    input.remove_prefix(1);
    const outcome whole = parse(input, std::max<std::size_t>(1, input.size()));
    const outcome pieces = parse(input, piece);
    expect(whole.requests == pieces.requests, "pieces make a difference");
    // Half a request may be refused as soon as it is clear that it is none, or when it is whole.
    expect(whole.refused == pieces.refused || whole.in_the_middle || pieces.in_the_middle,
           "one refuses, one is content");
}
