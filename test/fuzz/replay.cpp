// Gives every file of some directories to a fuzz target: PROGRAM DIRECTORY...
#include "fuzz.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

int main(int argc, char** argv)
{
    int count = 0;
    for (int i = 1; i < argc; ++i)
        for (const auto& each : std::filesystem::directory_iterator{argv[i]}) {
            std::fprintf(stderr, "%s\n", each.path().c_str());
            std::ifstream file{each.path(), std::ios::binary};
            const std::string input{std::istreambuf_iterator<char>{file}, {}};
            // Also without each of its last bytes.
            for (std::size_t cut = 0; cut <= input.size() && cut < 64; ++cut) {
                // A copy of its own, at whose end a sanitizer looks.
                const std::string piece{input, 0, input.size() - cut};
                fuzz::one_input(piece);
            }
            ++count;
        }
    std::printf("%d inputs\n", count);
    return count == 0 ? 1 : 0;
}
