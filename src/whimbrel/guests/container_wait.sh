#!/bin/bash
# Waits until the container answers the way its viewers will ask.
until_it_serves
