#pragma once

#include <leat/sim.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

/// Catches what is printed on standard output for as long as it lives.
class captured_output {
public:
    captured_output() : file_{std::tmpfile()}, before_{::dup(STDOUT_FILENO)}
    {
        REQUIRE(file_ != nullptr);
        std::fflush(stdout);
        ::dup2(::fileno(file_), STDOUT_FILENO);
    }
    captured_output(const captured_output&) = delete;
    captured_output& operator=(const captured_output&) = delete;
    ~captured_output()
    {
        std::fflush(stdout);
        ::dup2(before_, STDOUT_FILENO);
        ::close(before_);
        std::fclose(file_);
    }

    std::string text()
    {
        std::fflush(stdout);
        std::string all;
        std::rewind(file_);
        for (int c; (c = std::fgetc(file_)) != EOF;)
            all += static_cast<char>(c);
        return all;
    }

private:
    std::FILE* file_;
    int before_;
};

struct performance {
    std::string printed;
    leat::clock::duration taken;
    std::size_t left_over;  ///< tasks that have not ended
};

/// Runs a scene in a world of its own.
inline performance perform(leat::task<> scene, std::uint64_t seed = 1)
{
    leat::sim::world world{seed};
    captured_output output;
    world.run(std::move(scene));
    return {output.text(), world.now(), world.live_tasks()};
}

/// What the opening comment of a sample says that it prints: the indented lines behind "It prints".
inline std::vector<std::string> described_output(const std::string& file)
{
    std::ifstream source{file};
    REQUIRE(source.is_open());
    const std::string comment = "//";
    const std::string indented = "//     ";
    std::vector<std::string> lines;
    bool there = false;
    for (std::string line; std::getline(source, line) && line.starts_with(comment);) {
        there = there || line.starts_with("// It prints");
        if (there && line.starts_with(indented))
            lines.push_back(line.substr(indented.size()));
    }
    REQUIRE(!lines.empty());
    return lines;
}

/// Whether lines are as described, where "..." stands for any number of them.
inline bool as_described(const std::string& printed, const std::vector<std::string>& lines)
{
    std::istringstream text{printed};
    std::string line;
    bool any = false;
    for (const std::string& wanted : lines) {
        if (wanted == "...") {
            any = true;
            continue;
        }
        do {
            if (!std::getline(text, line))
                return false;
        } while (any && line != wanted);
        if (line != wanted)
            return false;
        any = false;
    }
    return any || !std::getline(text, line);
}

/// Performs a sample's scene, whatever the order in which its tasks run, and compares what it prints, and how long that
/// takes, with what its opening comment says.
template <class Scene>
void check_as_described(const std::string& file, Scene scene, leat::clock::duration takes, int seeds = 20)
{
    const std::vector<std::string> lines = described_output(file);
    for (int seed = 1; seed <= seeds; ++seed) {
        CAPTURE(seed);
        const performance done = perform(scene(), static_cast<std::uint64_t>(seed));
        CAPTURE(done.printed);
        CHECK(as_described(done.printed, lines));
        CHECK(done.taken == takes);
        CHECK(done.left_over == 0);
    }
}

// What follows is a sample's source, whose main() is not the program's here, and has no implicit return.
#define main sample_main
#pragma GCC diagnostic ignored "-Wreturn-type"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsubobject-linkage"  // its lambdas are local, as they should be
#endif
