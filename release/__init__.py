"""What a release needs: checks of the tree, the comparison of CRDs with the last release, notes from the changelog.

It changes nothing and is not installed. The workflows in `.github/workflows` build and publish; they ask this package.
"""
